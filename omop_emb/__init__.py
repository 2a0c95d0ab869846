"""Semantic search over OMOP concepts inside PostgreSQL."""

from omop_emb.embeddings import EmbeddingClient, EmbeddingClientError, EmbeddingRole
from omop_emb.errors import OmopEmbError
from omop_emb.interfaces import (
    EmbeddingConceptFilter,
    EmbeddingReaderInterface,
    EmbeddingWriterInterface,
    IndexType,
    MetricType,
)

__version__ = "0.4.0"

__all__ = [
    "EmbeddingClient",
    "EmbeddingClientError",
    "EmbeddingConceptFilter",
    "EmbeddingReaderInterface",
    "EmbeddingRole",
    "EmbeddingWriterInterface",
    "IndexType",
    "MetricType",
    "OmopEmbError",
    "__version__",
]
