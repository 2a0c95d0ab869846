"""What readers and writers have in common: the configuration, and what can be read of it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import text
from sqlalchemy.orm import Session

from omop_emb.database import session_errors
from omop_emb.interfaces.choices import EmbeddingConceptFilter, IndexType, MetricType, checked_ids, checked_limit
from omop_emb.server.embedding import vector_literal

DEFAULT_LIMIT = 10

Vectors = npt.NDArray[np.float32]
Neighbours = tuple[dict[int, float], ...]

NEAREST = text("""
    SELECT q.position, n.concept_id, n.similarity
    FROM unnest(CAST(:vectors AS text[])) WITH ORDINALITY q (vector, position)
    CROSS JOIN LATERAL omop_emb.nearest_concepts(CAST(q.vector AS real[]), :k, domains => CAST(:domains AS text[]),
        vocabularies => CAST(:vocabularies AS text[]), standard_only => :standard_only,
        include_invalid => NOT :valid_only, concept_ids => CAST(:concept_ids AS int[]), exact => :exact,
        distance => :distance, config => :config) n
    ORDER BY q.position, n.rank""")
WITHOUT_EMBEDDING = """
    FROM omop_emb.concepts_without_embedding(:config, CAST(:concept_ids AS int[]), CAST(:domains AS text[]),
        CAST(:vocabularies AS text[]), :standard_only, :valid_only, CAST(:max_concepts AS int))"""


def rows_of(session: Session, statement: Any, arguments: Mapping[str, Any]) -> Sequence[Any]:
    """Run a statement in the session and return its rows; OmopEmbError when the database refuses it."""
    with session_errors():
        return session.execute(statement, arguments).fetchall()


def as_matrix(vectors: npt.ArrayLike) -> Vectors:
    """Return vectors as float32 (n, D), one row for (D,); ValueError for other shapes."""
    # What does not fit a float32 becomes infinite, and is refused where it is used.
    with np.errstate(over="ignore"):
        matrix = np.atleast_2d(np.asarray(vectors, dtype=np.float32))
    if matrix.ndim != 2:
        raise ValueError(f"vectors must be an array (n, D), this one has the shape {matrix.shape}")
    return matrix


class ConfiguredInterface:
    """What reading and writing have in common: the configuration that the model's settings must fit."""

    def __init__(self, settings: Mapping[str, Any], config: str | None) -> None:
        self._settings = json.dumps(dict(settings))
        self._model = str(settings["model"])
        self._config = config

    @property
    def canonical_model_name(self) -> str:
        """The model name that the configuration must have."""
        return self._model

    def is_model_registered(self, session: Session, index_type: IndexType) -> bool:
        """Return whether the configuration exists and has this model."""
        IndexType(index_type)
        arguments = {"config": self._config, "model": self._model}
        return bool(rows_of(session, text("SELECT omop_emb.has_model(:config, :model)"), arguments)[0][0])

    def has_any_embeddings(self, session: Session, index_type: IndexType) -> bool:
        """Return whether any text of the configuration has a vector."""
        IndexType(index_type)
        fit = self._fit(session)
        return bool(rows_of(session, text("SELECT omop_emb.has_vectors(:config)"), {"config": fit.name})[0][0])

    def get_nearest_concepts(
        self,
        session: Session,
        index_type: IndexType,
        query_embedding: npt.ArrayLike,
        *,
        metric_type: MetricType,
        concept_filter: EmbeddingConceptFilter | None = None,
    ) -> Neighbours:
        """Return, per row of ``query_embedding`` (Q, D), {concept_id: similarity in [0, 1]}, best first.

        The vectors must have been embedded in the QUERY role. Without a limit in the filter it is 10 concepts per
        query. Raises OmopEmbError (sqlstate OE005) for vectors of another dimension, with NaN, or for a metric that
        the HNSW index does not have.
        """
        exact = IndexType(index_type) is IndexType.FLAT
        distance = MetricType(metric_type).value
        matrix = as_matrix(query_embedding)
        fit = self._fit(session)
        if matrix.size == 0:
            return ()
        # On vectors of length 1 the two rank alike and give the same similarity.
        if distance == "cosine" and fit.distance == "inner_product":
            distance = fit.distance
        chosen = concept_filter or EmbeddingConceptFilter()
        arguments = {
            **chosen.arguments(),
            "vectors": ["{" + vector_literal(row)[1:-1] + "}" for row in matrix.tolist()],
            "k": checked_limit(chosen.limit or DEFAULT_LIMIT),
            "exact": exact,
            "distance": distance,
            "config": fit.name,
        }
        found: Neighbours = tuple({} for _ in range(len(matrix)))
        for position, concept_id, similarity in rows_of(session, NEAREST, arguments):
            found[position - 1][concept_id] = similarity
        return found

    def get_embeddings_by_concept_ids(
        self, session: Session, index_type: IndexType, concept_ids: Sequence[int]
    ) -> dict[int, Vectors]:
        """Return {concept_id: vector (D,)} of the concepts' document texts, without those that have none.

        The document text is what a writer last supplied for the concept, else its name.
        """
        IndexType(index_type)
        arguments = {"config": self._fit(session).name, "concept_ids": checked_ids(concept_ids)}
        statement = text("SELECT * FROM omop_emb.concept_embeddings(:config, :concept_ids)")
        return {row[0]: np.array(row[1], dtype=np.float32) for row in rows_of(session, statement, arguments)}

    def get_concepts_without_embedding(
        self,
        *,
        session: Session,
        index_type: IndexType,
        concept_filter: EmbeddingConceptFilter | None = None,
        limit: int | None = None,
    ) -> dict[int, str]:
        """Return {concept_id: concept_name}, by id, of concepts in scope whose document text has no vector."""
        rows = self._without_embedding(session, index_type, "SELECT *", concept_filter, limit)
        return dict(rows)

    def get_concepts_without_embedding_count(
        self, *, session: Session, index_type: IndexType, concept_filter: EmbeddingConceptFilter | None = None
    ) -> int:
        """Return how many concepts in scope have a document text without a vector."""
        return int(self._without_embedding(session, index_type, "SELECT count(*)", concept_filter, None)[0][0])

    def _without_embedding(
        self,
        session: Session,
        index_type: IndexType,
        select: str,
        concept_filter: EmbeddingConceptFilter | None,
        limit: int | None,
    ) -> Sequence[Any]:
        IndexType(index_type)
        chosen = concept_filter or EmbeddingConceptFilter()
        wanted = chosen.limit if limit is None else limit
        arguments = {
            **chosen.arguments(),
            "config": self._fit(session).name,
            "max_concepts": None if wanted is None else checked_limit(wanted),
        }
        return rows_of(session, text(select + WITHOUT_EMBEDDING), arguments)

    def _fit(self, session: Session) -> Any:
        """Return what the configuration's vectors are like; OmopEmbError (OE001) unless the settings are its own."""
        statement = text("SELECT * FROM omop_emb.require_settings(:config, CAST(:settings AS jsonb))")
        return rows_of(session, statement, {"config": self._config, "settings": self._settings})[0]
