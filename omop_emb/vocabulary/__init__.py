"""Load the OMOP vocabulary, as Athena gives it, into a site's tables."""

from omop_emb.vocabulary.load import Loaded, load_vocabulary

__all__ = ["Loaded", "load_vocabulary"]
