"""Names and helpers of the tests of the Python API."""

import numpy as np
import psycopg
from sqlalchemy.orm import Session

from omop_emb import EmbeddingRole, EmbeddingWriterInterface, IndexType, MetricType
from omop_emb.configuration import PREFIX_VARIABLES

DOCUMENT, QUERY = EmbeddingRole.DOCUMENT, EmbeddingRole.QUERY
DOCUMENT_VARIABLE, QUERY_VARIABLE = PREFIX_VARIABLES["document_prefix"], PREFIX_VARIABLES["query_prefix"]
FLAT, HNSW, COSINE = IndexType.FLAT, IndexType.HNSW, MetricType.COSINE
HEADACHE, ASPIRIN, INFARCTION, INVALID = 378253, 1112807, 4329847, 45571652
TEXTS = {HEADACHE: "Headache", ASPIRIN: "aspirin"}
UNKNOWN = "http://127.0.0.1:1/v1"


def upsert(writer: EmbeddingWriterInterface, session: Session, texts: dict[int, str] | None = None) -> np.ndarray:
    chosen = TEXTS if texts is None else texts
    return writer.embed_and_upsert_concepts(
        session=session, index_type=FLAT, concept_ids=tuple(chosen), concept_texts=tuple(chosen.values())
    )


def count(db: psycopg.Connection) -> int:
    return len(db.execute("SELECT 1 FROM omop_emb.embedding_1 WHERE live").fetchall())


def sorted_by(similarities: dict[int, float]) -> list[int]:
    return sorted(similarities, key=lambda concept_id: -similarities[concept_id])
