"""Reading the embeddings of a configuration."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from omop_emb.embeddings import EmbeddingClient
from omop_emb.interfaces.choices import EmbeddingConceptFilter, IndexType, MetricType
from omop_emb.interfaces.configured import ConfiguredInterface, Neighbours
from omop_emb.interfaces.writer import EmbeddingWriterInterface


class EmbeddingReaderInterface(ConfiguredInterface):
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
