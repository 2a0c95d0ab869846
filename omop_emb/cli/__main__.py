"""``python -m omop_emb.cli``."""

from omop_emb.cli import main

main()
