"""Read and write the embeddings of a configuration from Python, on the tables that the SQL functions use.

What a writer stores ``omop_emb_search`` finds, and the other way round. ``session`` is always a SQLAlchemy session on
a database that ``omop-emb-admin migrate`` prepared; its transaction is the caller's to commit.
"""

from omop_emb.interfaces.choices import EmbeddingConceptFilter, IndexType, MetricType
from omop_emb.interfaces.reader import EmbeddingReaderInterface
from omop_emb.interfaces.writer import EmbeddingWriterInterface

__all__ = [
    "EmbeddingConceptFilter",
    "EmbeddingReaderInterface",
    "EmbeddingWriterInterface",
    "IndexType",
    "MetricType",
]
