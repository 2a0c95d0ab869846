"""The command line ``omop-emb-admin``."""

from omop_emb.cli.root import main

__all__ = ["main"]
