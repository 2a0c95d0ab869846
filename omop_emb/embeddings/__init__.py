"""Embed texts from Python, in the same two roles and by the same rule as the functions in the database."""

from omop_emb.embeddings.client import EmbeddingClient
from omop_emb.embeddings.roles import EmbeddingClientError, EmbeddingRole

__all__ = ["EmbeddingClient", "EmbeddingClientError", "EmbeddingRole"]
