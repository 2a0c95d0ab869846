"""Writing the embeddings of a configuration."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
from sqlalchemy import text
from sqlalchemy.orm import Session

from omop_emb.embeddings import EmbeddingClient, EmbeddingRole
from omop_emb.interfaces.choices import EmbeddingConceptFilter, IndexType, MetricType, checked_ids
from omop_emb.interfaces.configured import ConfiguredInterface, Neighbours, Vectors, as_matrix, rows_of
from omop_emb.server.embedding import check_vector, vector_literal

CONCEPTS_PER_STATEMENT = 1000

STORE = text(
    "SELECT omop_emb.store_documents(:config, CAST(:ids AS int[]), CAST(:texts AS text[]), CAST(:vectors AS text[]))"
)


class EmbeddingWriterInterface(ConfiguredInterface):
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
        return self._client.embeddings(as_list(texts), embedding_role, batch_size)

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
        ids = checked_ids(concept_ids)
        texts = as_list(concept_texts)
        if len(ids) != len(texts):
            raise ValueError(f"{len(ids)} concept_ids and {len(texts)} concept_texts: there must be one text per id")
        require_unique(ids)
        IndexType(index_type)
        fit = self._fit(session)
        require = text("SELECT omop_emb.require_indexed(:config, CAST(:ids AS int[]))")
        rows_of(session, require, {"config": fit.name, "ids": ids})
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
        self._store(session, index_type, checked_ids(concept_ids), None, as_matrix(embeddings))

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
        vectors = self._client.embeddings(as_list(query_texts), EmbeddingRole.QUERY, batch_size)
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
        require_unique(ids)
        for start in range(0, len(ids), CONCEPTS_PER_STATEMENT):
            part = slice(start, start + CONCEPTS_PER_STATEMENT)
            arguments = {
                "config": fit.name,
                "ids": ids[part],
                "texts": None if texts is None else texts[part],
                "vectors": literals_of(fit, ids[part], vectors[part]),
            }
            rows_of(session, STORE, arguments)
        if IndexType(index_type) is IndexType.HNSW:
            finish = text("SELECT omop_emb.count_for_searches(:config), omop_emb.finish_index(:config)")
            rows_of(session, finish, {"config": fit.name})


def as_list(texts: str | Sequence[str]) -> list[str]:
    """Return the texts as a list, a single one too."""
    return [texts] if isinstance(texts, str) else list(texts)


def require_unique(ids: list[int]) -> None:
    """Raise ValueError when an id comes twice."""
    if len(set(ids)) < len(ids):
        twice = next(number for number, times in Counter(ids).items() if times > 1)
        raise ValueError(f"concept id {twice} is given twice: a concept has one document text here")


def literals_of(fit: Any, ids: list[int], vectors: Vectors) -> list[str]:
    """Return vectors as pgvector reads them, at length 1 for inner_product; ValueError for one it cannot store."""
    wanted = {"dimensions": fit.dimensions, "storage": fit.storage, "distance": fit.distance}
    literals = []
    for concept_id, vector in zip(ids, vectors.tolist(), strict=True):
        try:
            literals.append(vector_literal(check_vector(wanted, vector)))
        except ValueError as error:
            raise ValueError(f"the embedding of concept {concept_id} cannot be stored: {error}") from None
    return literals
