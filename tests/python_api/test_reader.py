"""Searching and reading from Python, under the configuration's settings only."""

import numpy as np
import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from omop_emb import (
    EmbeddingClient,
    EmbeddingConceptFilter,
    EmbeddingReaderInterface,
    EmbeddingRole,
    EmbeddingWriterInterface,
    IndexType,
    MetricType,
    OmopEmbError,
)
from tests.endpoint import Endpoint, vector_for
from tests.python_api.common import (
    ASPIRIN,
    COSINE,
    FLAT,
    HEADACHE,
    HNSW,
    INFARCTION,
    INVALID,
    TEXTS,
    sorted_by,
    upsert,
)


@pytest.mark.parametrize(
    ("variable", "setting"),
    [("OMOP_EMB_DOCUMENT_EMBEDDING_PREFIX", "document_prefix"), ("OMOP_EMB_QUERY_EMBEDDING_PREFIX", "query_prefix")],
)
def test_a_client_with_other_prefixes_is_refused_with_both_values(
    client: EmbeddingClient,
    monkeypatch: pytest.MonkeyPatch,
    session: Session,
    endpoint: Endpoint,
    variable: str,
    setting: str,
) -> None:
    monkeypatch.setenv(variable, "passage:")
    other = EmbeddingWriterInterface(EmbeddingClient("recorded", endpoint.url))
    ours = {"document_prefix": "doc: ", "query_prefix": "query: "}[setting]
    expected = f'its {setting} is "passage:", the configuration has "{ours}"'
    for call in (
        lambda: upsert(other, session),
        lambda: other.upsert_concept_embeddings(
            session=session, index_type=FLAT, concept_ids=[HEADACHE], embeddings=np.ones((1, 8))
        ),
        lambda: other.get_nearest_concepts_from_query_texts(session, FLAT, "x", metric_type=COSINE),
        lambda: other.get_nearest_concepts(session, FLAT, np.ones((1, 8)), metric_type=COSINE),
    ):
        with pytest.raises(OmopEmbError, match=expected) as raised:
            call()
        assert raised.value.sqlstate == "OE001"
        session.rollback()
    assert endpoint.requests == []


def test_a_client_of_another_model_or_with_other_parameters_is_refused(
    client: EmbeddingClient, session: Session, configured: psycopg.Connection, endpoint: Endpoint
) -> None:
    other = EmbeddingWriterInterface(EmbeddingClient("another", endpoint.url))
    assert not other.is_model_registered(session, FLAT)
    with pytest.raises(OmopEmbError, match='its model is "another", the configuration has "recorded"'):
        upsert(other, session)
    session.rollback()
    task = EmbeddingWriterInterface(EmbeddingClient("recorded", endpoint.url, query_params={"task": "query"}))
    with pytest.raises(OmopEmbError, match=r"query_params is .*task.*, the configuration has \{\}"):
        task.get_nearest_concepts_from_query_texts(session, FLAT, "x", metric_type=COSINE)
    session.rollback()
    with pytest.raises(OmopEmbError, match="no embedding configuration 'none'") as raised:
        upsert(EmbeddingWriterInterface(EmbeddingClient("recorded", endpoint.url), config="none"), session)
    assert raised.value.sqlstate == "OE002"
    assert endpoint.requests == []


def test_every_field_of_the_filter_counts(
    writer: EmbeddingWriterInterface, session: Session, configured: psycopg.Connection
) -> None:
    configured.execute("UPDATE omop_emb.config SET include_invalid = true")
    configured.execute("SELECT * FROM omop_emb_index()")

    def found(index_type: IndexType, **fields: object) -> set[int]:
        chosen = EmbeddingConceptFilter(**{"limit": 50, **fields})  # type: ignore[arg-type]
        queries = ["pain", "pill"]
        results = writer.get_nearest_concepts_from_query_texts(
            session, index_type, queries, metric_type=COSINE, concept_filter=chosen
        )
        assert len(results) == 2
        assert set(results[0]) == set(results[1])
        return set(results[0])

    for index_type in IndexType:
        everything = found(index_type)
        assert len(everything) == 11
        assert found(index_type, concept_ids=(HEADACHE, ASPIRIN, 7)) == {HEADACHE, ASPIRIN}
        assert found(index_type, concept_ids=()) == set()
        assert found(index_type, domains=("Drug",)) == {ASPIRIN, 1127433, 21604254}
        assert found(index_type, vocabularies=["ICD10CM"]) == {35207668, INVALID}
        assert found(index_type, require_active=True) == everything - {INVALID}
        assert found(index_type, require_standard=True) == everything - {INVALID, 35207668, 21604254}
        assert found(index_type, domains=("Drug",), require_standard=True) == {ASPIRIN, 1127433}
        one = writer.get_nearest_concepts_from_query_texts(
            session, index_type, "pain", metric_type=COSINE, concept_filter=EmbeddingConceptFilter(limit=1)
        )
        assert len(one[0]) == 1
    for limit in (0, -1, 2**31):
        with pytest.raises(ValueError, match=f"limit is {limit}, it must be at least 1 and fit"):
            found(FLAT, limit=limit)
    with pytest.raises(ValueError, match="domains is the string 'Drug'"):
        EmbeddingConceptFilter(domains="Drug")
    with pytest.raises(ValueError, match="concept_ids is the string '123'"):
        EmbeddingConceptFilter(concept_ids="123")  # type: ignore[arg-type]


def test_metrics_and_bad_vectors(
    writer: EmbeddingWriterInterface, client: EmbeddingClient, session: Session, configured: psycopg.Connection
) -> None:
    configured.execute("SELECT * FROM omop_emb_index()")
    query = client.embeddings("doc: Headache", EmbeddingRole.QUERY)
    headache = np.array(vector_for("doc: Headache", 8), dtype=np.float32)
    for metric, distance in ((MetricType.L2, 2), (MetricType.L1, 1)):
        (nearest,) = writer.get_nearest_concepts(session, FLAT, query, metric_type=metric)
        assert nearest[HEADACHE] >= 1 / (1 + np.linalg.norm(query[0] - headache, distance)) - 1e-6
        assert list(nearest) == sorted_by(nearest)
        with pytest.raises(OmopEmbError, match=f"for the distance cosine, not for {metric.value}"):
            writer.get_nearest_concepts(session, HNSW, query, metric_type=metric)
        session.rollback()
    for vectors, match in (
        (np.ones((1, 9)), "has 9 dimensions, configuration 'test' has 8"),
        (query * np.nan, "NaN"),
        (np.full((1, 8), 1e39), "NaN or infinity"),
    ):
        with pytest.raises(OmopEmbError, match=match) as raised:
            writer.get_nearest_concepts(session, FLAT, vectors, metric_type=COSINE)
        assert raised.value.sqlstate == "OE005"
        session.rollback()
    with pytest.raises(OmopEmbError, match="only zeros, which has no direction"):
        writer.get_nearest_concepts(session, FLAT, np.zeros((1, 8)), metric_type=COSINE)
    session.rollback()
    with pytest.raises(ValueError, match="hamming"):
        writer.get_nearest_concepts(session, FLAT, query, metric_type="hamming")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ivfflat"):
        writer.get_nearest_concepts(session, "ivfflat", query, metric_type=COSINE)  # type: ignore[arg-type]
    assert writer.get_nearest_concepts(session, FLAT, np.empty((0, 8)), metric_type=COSINE) == ()


def test_concepts_without_embedding(
    writer: EmbeddingWriterInterface, session: Session, configured: psycopg.Connection
) -> None:
    upsert(writer, session)
    session.commit()
    missing = writer.get_concepts_without_embedding(session=session, index_type=FLAT)
    assert len(missing) == 8
    assert not TEXTS.keys() & missing.keys()
    assert missing[INFARCTION] == "Myocardial infarction"
    assert list(missing) == sorted(missing)
    assert writer.get_concepts_without_embedding_count(session=session, index_type=FLAT) == 8
    drugs = EmbeddingConceptFilter(domains=("Drug",))
    assert len(writer.get_concepts_without_embedding(session=session, index_type=FLAT, concept_filter=drugs)) == 2
    assert len(writer.get_concepts_without_embedding(session=session, index_type=FLAT, limit=3)) == 3
    configured.execute("UPDATE cdm.concept SET concept_name = 'renamed' WHERE concept_id = %s", [ASPIRIN])
    assert ASPIRIN in writer.get_concepts_without_embedding(session=session, index_type=FLAT)


def test_a_reader_needs_the_reader_role_only(
    writer: EmbeddingWriterInterface,
    client: EmbeddingClient,
    session: Session,
    dsn: str,
    configured: psycopg.Connection,
) -> None:
    configured.execute("SELECT * FROM omop_emb_index()")
    reader = EmbeddingReaderInterface("recorded", config="test")
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
    with Session(engine) as opened:
        opened.connection().exec_driver_sql("SET ROLE omop_emb_reader")
        assert reader.is_model_registered(opened, HNSW)
        assert reader.has_any_embeddings(opened, HNSW)
        assert len(reader.get_embeddings_by_concept_ids(opened, HNSW, (HEADACHE, 7))) == 1
        assert reader.get_concepts_without_embedding_count(session=opened, index_type=FLAT) == 0
        query = client.embeddings("pain", EmbeddingRole.QUERY)
        nearest = reader.get_nearest_concepts(opened, HNSW, query, metric_type=COSINE)
        arguments = (HNSW, "pain")
        assert reader.get_nearest_concepts_from_query_texts(opened, *arguments, client, metric_type=COSINE) == nearest
        assert writer.get_nearest_concepts_from_query_texts(session, *arguments, metric_type=COSINE) == nearest
        with pytest.raises(OmopEmbError, match="permission denied"):
            upsert(writer, opened)
        opened.rollback()
        with pytest.raises(OmopEmbError, match='model is "other", the configuration has "recorded"'):
            EmbeddingReaderInterface("other").has_any_embeddings(opened, FLAT)
        assert not EmbeddingReaderInterface("other").is_model_registered(session, FLAT)
    engine.dispose()


def test_a_client_made_from_the_configuration_fits_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, session: Session, endpoint: Endpoint
) -> None:
    monkeypatch.setenv("OMOP_EMB_DOCUMENT_EMBEDDING_PREFIX", "wrong: ")
    upsert(EmbeddingWriterInterface(EmbeddingClient.for_configuration(session)), session)
    assert endpoint.texts == ["doc: Headache", "doc: aspirin"]
