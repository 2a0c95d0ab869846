"""Read and write the embeddings of a configuration from Python, on the tables that the SQL functions use.

What a writer stores ``omop_emb_search`` finds, and the other way round. ``session`` is always a SQLAlchemy session on
a database that ``omop-emb-admin migrate`` prepared; its transaction is the caller's to commit.
"""

import json
import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import text
from sqlalchemy.orm import Session

from omop_emb.database import session_errors
from omop_emb.embeddings import EmbeddingClient, EmbeddingRole
from omop_emb.server.embedding import check_vector, vector_literal

DEFAULT_LIMIT = 10
LARGEST_INTEGER = 2**31 - 1
CONCEPTS_PER_STATEMENT = 1000

Vectors = npt.NDArray[np.float32]
Neighbours = tuple[dict[int, float], ...]


class IndexType(StrEnum):
    """How vectors are searched: all of them compared (FLAT), or by the approximate HNSW index."""

    FLAT = "flat"
    HNSW = "hnsw"


class MetricType(StrEnum):
    """How vectors are compared. HNSW has the configuration's ``distance`` only, FLAT any of these."""

    COSINE = "cosine"
    L2 = "l2"
    L1 = "l1"


@dataclass(frozen=True)
class EmbeddingConceptFilter:
    """Which concepts count; None is no restriction, an empty sequence matches nothing.

    ``require_standard`` keeps ``standard_concept = 'S'``, ``require_active`` concepts without an invalid_reason.
    ``limit`` is the most concepts to return (per query), at least 1; None leaves the default of the method.
    Raises ValueError for a limit below 1 and for a string where a sequence belongs.
    """

    concept_ids: Sequence[int] | None = None
    domains: Sequence[str] | None = None
    vocabularies: Sequence[str] | None = None
    require_standard: bool = False
    require_active: bool = False
    limit: int | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.limit is not None:
            checked_limit(self.limit)
        for name in ("concept_ids", "domains", "vocabularies"):
            if isinstance(getattr(self, name), str):
                raise ValueError(f"{name} is the string {getattr(self, name)!r}: give a sequence")

    def arguments(self) -> dict[str, Any]:
        """Return the values as SQL parameters."""
        ids = None if self.concept_ids is None else _ids(self.concept_ids)
        return {
            "concept_ids": ids,
            "domains": None if self.domains is None else list(self.domains),
            "vocabularies": None if self.vocabularies is None else list(self.vocabularies),
            "standard_only": self.require_standard,
            "valid_only": self.require_active,
        }


NO_FILTER = EmbeddingConceptFilter()

NEAREST = text("""
    SELECT q.position, n.concept_id, n.similarity
    FROM unnest(CAST(:vectors AS text[])) WITH ORDINALITY q (vector, position)
    CROSS JOIN LATERAL omop_emb.nearest_concepts(CAST(q.vector AS real[]), :k, domains => CAST(:domains AS text[]),
        vocabularies => CAST(:vocabularies AS text[]), standard_only => :standard_only,
        include_invalid => NOT :valid_only, concept_ids => CAST(:concept_ids AS int[]), exact => :exact,
        distance => :distance, config => :config) n
    ORDER BY q.position, n.rank""")
STORE = text(
    "SELECT omop_emb.store_documents(:config, CAST(:ids AS int[]), CAST(:texts AS text[]), CAST(:vectors AS text[]))"
)
WITHOUT_EMBEDDING = """
    FROM omop_emb.concepts_without_embedding(:config, CAST(:concept_ids AS int[]), CAST(:domains AS text[]),
        CAST(:vocabularies AS text[]), :standard_only, :valid_only, CAST(:max_concepts AS int))"""


def _rows(session: Session, statement: Any, arguments: Mapping[str, Any]) -> Sequence[Any]:
    with session_errors():
        return session.execute(statement, arguments).fetchall()


def _matrix(vectors: npt.ArrayLike) -> Vectors:
    matrix = np.atleast_2d(np.asarray(vectors, dtype=np.float32))
    if matrix.ndim != 2:
        raise ValueError(f"vectors must be an array (n, D), this one has the shape {matrix.shape}")
    return matrix


def _listed(texts: str | Sequence[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)


def _ids(concept_ids: Sequence[int]) -> list[int]:
    ids = [operator.index(number) for number in concept_ids]
    if strangers := [number for number in ids if abs(number) > LARGEST_INTEGER]:
        raise ValueError(f"concept id {strangers[0]} does not fit a 32-bit integer, as the CDM wants it")
    return ids


def _require_unique(ids: list[int]) -> None:
    if len(set(ids)) < len(ids):
        twice = next(number for number, times in Counter(ids).items() if times > 1)
        raise ValueError(f"concept id {twice} is given twice: a concept has one document text here")


def checked_limit(limit: int) -> int:
    """Return the limit; ValueError unless it is a whole number from 1 to 2,147,483,647."""
    try:
        number = operator.index(limit)
    except TypeError:
        raise ValueError(f"limit is {limit!r}, it must be a whole number") from None
    if not 1 <= number <= LARGEST_INTEGER:
        raise ValueError(f"limit is {number}, it must be at least 1 and fit a 32-bit integer")
    return number


def _literals(fit: Any, ids: list[int], vectors: Vectors) -> list[str]:
    """Return vectors as pgvector reads them, at length 1 for inner_product; ValueError for one it cannot store."""
    wanted = {"dimensions": fit.dimensions, "storage": fit.storage, "distance": fit.distance}
    literals = []
    for concept_id, vector in zip(ids, vectors.tolist(), strict=True):
        try:
            literals.append(vector_literal(check_vector(wanted, vector)))
        except ValueError as error:
            raise ValueError(f"the embedding of concept {concept_id} cannot be stored: {error}") from None
    return literals


class _Interface:
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
        return bool(_rows(session, text("SELECT omop_emb.has_model(:config, :model)"), arguments)[0][0])

    def has_any_embeddings(self, session: Session, index_type: IndexType) -> bool:
        """Return whether any text of the configuration has a vector."""
        IndexType(index_type)
        fit = self._fit(session)
        return bool(_rows(session, text("SELECT omop_emb.has_vectors(:config)"), {"config": fit.name})[0][0])

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
        matrix = _matrix(query_embedding)
        fit = self._fit(session)
        if matrix.size == 0:
            return ()
        # On vectors of length 1 the two rank alike and give the same similarity.
        if distance == "cosine" and fit.distance == "inner_product":
            distance = fit.distance
        chosen = concept_filter or NO_FILTER
        arguments = {
            **chosen.arguments(),
            "vectors": ["{" + vector_literal(row)[1:-1] + "}" for row in matrix.tolist()],
            "k": checked_limit(chosen.limit or DEFAULT_LIMIT),
            "exact": exact,
            "distance": distance,
            "config": fit.name,
        }
        found: Neighbours = tuple({} for _ in range(len(matrix)))
        for position, concept_id, similarity in _rows(session, NEAREST, arguments):
            found[position - 1][concept_id] = similarity
        return found

    def get_embeddings_by_concept_ids(
        self, session: Session, index_type: IndexType, concept_ids: Sequence[int]
    ) -> dict[int, Vectors]:
        """Return {concept_id: vector (D,)} of the concepts' document texts, without those that have none.

        The document text is what a writer last supplied for the concept, else its name.
        """
        IndexType(index_type)
        arguments = {"config": self._fit(session).name, "concept_ids": _ids(concept_ids)}
        statement = text("SELECT * FROM omop_emb.concept_embeddings(:config, :concept_ids)")
        return {row[0]: np.array(row[1], dtype=np.float32) for row in _rows(session, statement, arguments)}

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
        chosen = concept_filter or NO_FILTER
        wanted = chosen.limit if limit is None else limit
        arguments = {
            **chosen.arguments(),
            "config": self._fit(session).name,
            "max_concepts": None if wanted is None else checked_limit(wanted),
        }
        return _rows(session, text(select + WITHOUT_EMBEDDING), arguments)

    def _fit(self, session: Session) -> Any:
        """Return what the configuration's vectors are like; OmopEmbError (OE001) unless the settings are its own."""
        statement = text("SELECT * FROM omop_emb.require_settings(:config, CAST(:settings AS jsonb))")
        return _rows(session, statement, {"config": self._config, "settings": self._settings})[0]


class EmbeddingReaderInterface(_Interface):
    """Reads the embeddings of a configuration, the active one unless ``config`` names another.

    Needs no more than the database role omop_emb_reader. Methods raise OmopEmbError with sqlstate OE001 when the
    configuration has another model, OE002 when there is no such configuration.
    """

    def __init__(self, canonical_model_name: str, *, config: str | None = None) -> None:
        super().__init__({"model": canonical_model_name}, config)

    def get_nearest_concepts_from_query_texts(
        self,
        session: Session,
        index_type: IndexType,
        query_texts: str | Sequence[str],
        embedding_client: EmbeddingClient,
        *,
        metric_type: MetricType,
        concept_filter: EmbeddingConceptFilter | None = None,
        batch_size: int | None = None,
    ) -> Neighbours:
        """Embed the texts as QUERY with the client and return, per text, {concept_id: similarity}, best first."""
        writer = EmbeddingWriterInterface(embedding_client, config=self._config)
        self._fit(session)
        return writer.get_nearest_concepts_from_query_texts(
            session,
            index_type,
            query_texts,
            metric_type=metric_type,
            concept_filter=concept_filter,
            batch_size=batch_size,
        )


class EmbeddingWriterInterface(_Interface):
    """Writes and reads the embeddings of a configuration, the active one unless ``config`` names another.

    Every method with a session raises OmopEmbError (sqlstate OE001), before any request, when the client's model,
    prefixes or parameters are not those of the configuration. Writing needs the database role omop_emb_admin.
    """

    def __init__(self, embedding_client: EmbeddingClient, *, config: str | None = None) -> None:
        super().__init__(embedding_client.settings(), config)
        self._client = embedding_client

    @property
    def embedding_client(self) -> EmbeddingClient:
        """The client that embeds."""
        return self._client

    def embed_texts(
        self, texts: str | Sequence[str], *, embedding_role: EmbeddingRole, batch_size: int | None = None
    ) -> Vectors:
        """Return the vectors (n, D) of texts in a role; nothing is stored."""
        return self._client.embeddings(_listed(texts), embedding_role, batch_size)

    def embed_and_upsert_concepts(
        self,
        *,
        session: Session,
        index_type: IndexType,
        concept_ids: Sequence[int],
        concept_texts: Sequence[str],
        batch_size: int | None = None,
    ) -> Vectors:
        """Embed one text per concept as DOCUMENT, store the vectors over those that are there, return them (n, D).

        A text that is not the concept's name is indexed beside it and takes the place of the text that was supplied
        for the concept before. Raises ValueError, before any request, unless there is one text per concept id;
        OmopEmbError for concepts that the configuration does not index. Then nothing is stored.
        """
        ids = _ids(concept_ids)
        texts = _listed(concept_texts)
        if len(ids) != len(texts):
            raise ValueError(f"{len(ids)} concept_ids and {len(texts)} concept_texts: there must be one text per id")
        _require_unique(ids)
        IndexType(index_type)
        fit = self._fit(session)
        require = text("SELECT omop_emb.require_indexed(:config, CAST(:ids AS int[]))")
        _rows(session, require, {"config": fit.name, "ids": ids})
        vectors = self._client.embeddings(texts, EmbeddingRole.DOCUMENT, batch_size)
        self._store(session, index_type, ids, texts, vectors)
        return vectors

    def upsert_concept_embeddings(
        self, *, session: Session, index_type: IndexType, concept_ids: Sequence[int], embeddings: npt.ArrayLike
    ) -> None:
        """Store vectors (n, D) that this client made in the DOCUMENT role of the concepts' document texts.

        Raises ValueError unless there is one sound vector of the configuration's dimensions per concept id.
        """
        IndexType(index_type)
        self._store(session, index_type, _ids(concept_ids), None, _matrix(embeddings))

    def get_nearest_concepts_from_query_texts(
        self,
        session: Session,
        index_type: IndexType,
        query_texts: str | Sequence[str],
        *,
        metric_type: MetricType,
        concept_filter: EmbeddingConceptFilter | None = None,
        batch_size: int | None = None,
    ) -> Neighbours:
        """Embed the texts as QUERY and return, per text, {concept_id: similarity in [0, 1]}, best first."""
        IndexType(index_type)
        MetricType(metric_type)
        self._fit(session)
        vectors = self._client.embeddings(_listed(query_texts), EmbeddingRole.QUERY, batch_size)
        return self.get_nearest_concepts(
            session, index_type, vectors, metric_type=metric_type, concept_filter=concept_filter
        )

    def _store(
        self, session: Session, index_type: IndexType, ids: list[int], texts: list[str] | None, vectors: Vectors
    ) -> None:
        fit = self._fit(session)
        if vectors.size == 0 and not ids:
            return
        if len(vectors) != len(ids):
            raise ValueError(f"{len(ids)} concept_ids and {len(vectors)} embeddings: there must be one per id")
        _require_unique(ids)
        for start in range(0, len(ids), CONCEPTS_PER_STATEMENT):
            part = slice(start, start + CONCEPTS_PER_STATEMENT)
            arguments = {
                "config": fit.name,
                "ids": ids[part],
                "texts": None if texts is None else texts[part],
                "vectors": _literals(fit, ids[part], vectors[part]),
            }
            _rows(session, STORE, arguments)
        if IndexType(index_type) is IndexType.HNSW:
            _rows(session, text("SELECT omop_emb.finish_index(:config)"), {"config": fit.name})
