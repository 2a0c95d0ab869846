"""The Python interfaces work on the tables of the SQL functions, under the configuration's settings only."""

import threading
from collections.abc import Iterator

import numpy as np
import psycopg
import pytest
from sqlalchemy import Engine, create_engine
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
from omop_emb.configuration import configure
from tests.conftest import Connect
from tests.endpoint import Endpoint, vector_for

FLAT, HNSW, COSINE = IndexType.FLAT, IndexType.HNSW, MetricType.COSINE
HEADACHE, ASPIRIN, INFARCTION, INVALID = 378253, 1112807, 4329847, 45571652
TEXTS = {HEADACHE: "Headache", ASPIRIN: "aspirin"}


@pytest.fixture
def prefixes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment as for the configuration of these tests."""
    monkeypatch.setenv("OMOP_EMB_DOCUMENT_EMBEDDING_PREFIX", "doc: ")
    monkeypatch.setenv("OMOP_EMB_QUERY_EMBEDDING_PREFIX", "query: ")


@pytest.fixture
def configured(db: psycopg.Connection, endpoint: Endpoint) -> psycopg.Connection:
    """Give a connection to a database with a configuration and nothing indexed."""
    settings = {"api_base": endpoint.url, "model": "recorded", "document_prefix": "doc: ", "query_prefix": "query: "}
    configure(db, "test", settings)
    endpoint.requests.clear()
    return db


@pytest.fixture
def client(prefixes: None, endpoint: Endpoint) -> EmbeddingClient:
    """Give a client that fits the configuration."""
    return EmbeddingClient("recorded", endpoint.url)


@pytest.fixture
def writer(client: EmbeddingClient) -> EmbeddingWriterInterface:
    """Give the writer of that client."""
    return EmbeddingWriterInterface(client)


@pytest.fixture
def engine(dsn: str) -> Iterator[Engine]:
    """Connect to the test's database."""
    made = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
    yield made
    made.dispose()


@pytest.fixture
def session(configured: psycopg.Connection, engine: Engine) -> Iterator[Session]:
    """Open a session."""
    with Session(engine) as opened:
        yield opened


def upsert(writer: EmbeddingWriterInterface, session: Session, texts: dict[int, str] | None = None) -> np.ndarray:
    chosen = TEXTS if texts is None else texts
    return writer.embed_and_upsert_concepts(
        session=session, index_type=FLAT, concept_ids=tuple(chosen), concept_texts=tuple(chosen.values())
    )


def count(db: psycopg.Connection) -> int:
    return len(db.execute("SELECT 1 FROM omop_emb.embedding_1 WHERE live").fetchall())


def sorted_by(similarities: dict[int, float]) -> list[int]:
    return sorted(similarities, key=lambda concept_id: -similarities[concept_id])


def test_what_python_indexes_sql_finds_and_the_other_way_round(
    writer: EmbeddingWriterInterface, session: Session, configured: psycopg.Connection, endpoint: Endpoint
) -> None:
    assert not writer.has_any_embeddings(session, FLAT)
    vectors = upsert(writer, session)
    assert endpoint.texts == ["doc: Headache", "doc: aspirin"]
    assert vectors.shape == (2, 8)
    assert configured.execute("SELECT count(*) FROM omop_emb.embedding_1").fetchone() == (0,), "not committed yet"
    session.commit()

    found = configured.execute("SELECT concept_id, similarity, matched_kind FROM omop_emb_search('pain')").fetchall()
    assert {row[0] for row in found} == set(TEXTS)
    assert {row[2] for row in found} == {"name"}
    assert configured.execute("SELECT embedded, remaining FROM omop_emb_index()").fetchone() == (14, 0)
    texts = endpoint.texts
    assert len(texts) == len(set(texts)), "nothing is embedded twice"
    similarities = {
        concept_id: pytest.approx(similarity, abs=1e-6)
        for concept_id, similarity in configured.execute("SELECT concept_id, similarity FROM omop_emb_search('pain')")
    }
    for index_type in IndexType:
        (nearest,) = writer.get_nearest_concepts_from_query_texts(session, index_type, ("pain",), metric_type=COSINE)
        assert nearest == similarities
        assert list(nearest) == sorted_by(nearest)


def test_an_upsert_replaces(
    writer: EmbeddingWriterInterface, session: Session, configured: psycopg.Connection, endpoint: Endpoint
) -> None:
    upsert(writer, session)
    session.commit()
    before = count(configured)
    made_at = "SELECT max(embedded_at) FROM omop_emb.embedding_1"
    first = configured.execute(made_at).fetchone()
    other = vector_for("something else", 8)
    endpoint.change = lambda items: [{**item, "embedding": other} for item in items]
    upsert(writer, session)
    session.commit()
    assert count(configured) == before == 2
    assert configured.execute(made_at).fetchone() > first  # type: ignore[operator]
    stored = writer.get_embeddings_by_concept_ids(session, FLAT, (HEADACHE, ASPIRIN, INFARCTION))
    assert stored.keys() == TEXTS.keys()
    np.testing.assert_array_equal(stored[HEADACHE], np.array(other, dtype=np.float32))


def test_a_text_that_is_not_the_name_is_indexed_beside_it_until_another_takes_its_place(
    writer: EmbeddingWriterInterface, session: Session, configured: psycopg.Connection, endpoint: Endpoint
) -> None:
    configured.execute("SELECT * FROM omop_emb_index()")
    for text in ("pain in the head, any kind", "cranial pain"):
        upsert(writer, session, {HEADACHE: text})
        session.commit()
        assert count(configured) == 17
        row = configured.execute(
            "SELECT concept_id, matched_text, matched_kind FROM omop_emb.nearest_concepts(%s::real[], 1)",
            [vector_for(f"doc: {text}", 8)],
        ).fetchone()
        assert row == (HEADACHE, text, "synonym")
        stored = writer.get_embeddings_by_concept_ids(session, FLAT, [HEADACHE])[HEADACHE]
        np.testing.assert_array_equal(stored, np.array(vector_for(f"doc: {text}", 8), dtype=np.float32))
    endpoint.requests.clear()
    configured.execute("UPDATE cdm.concept SET concept_code = 'x' WHERE concept_id = %s", [HEADACHE])
    assert configured.execute("SELECT embedded, removed FROM omop_emb_index()").fetchone() == (0, 0)
    upsert(writer, session, {HEADACHE: "Headache"})
    session.commit()
    assert count(configured) == 16
    status = "SELECT matching_vectors, stale_vectors, orphaned_vectors, pending, stale FROM omop_emb.status"
    assert configured.execute(status).fetchone() == (16, 0, 2, 0, 0)


def test_what_cannot_be_stored_is_refused_before_any_request(
    writer: EmbeddingWriterInterface, session: Session, configured: psycopg.Connection, endpoint: Endpoint
) -> None:
    def refuse(error: type[Exception], match: str, ids: list[int], texts: list[str]) -> None:
        with pytest.raises(error, match=match):
            writer.embed_and_upsert_concepts(session=session, index_type=FLAT, concept_ids=ids, concept_texts=texts)
        session.rollback()

    refuse(ValueError, "2 concept_ids and 1 concept_texts", [1, 2], ["x"])
    refuse(ValueError, "text 0", [HEADACHE], [" "])
    refuse(ValueError, "does not fit a 32-bit integer", [2**31], ["x"])
    refuse(OmopEmbError, "concepts that configuration 'test' does not index: 5", [HEADACHE, 5], ["a", "b"])
    refuse(OmopEmbError, f"does not index: {INVALID}", [INVALID], ["Headache, unspecified"])
    refuse(ValueError, f"concept id {HEADACHE} is given twice", [HEADACHE, HEADACHE], ["a", "b"])
    assert endpoint.requests == []
    for number, match in ((np.nan, "NaN or infinity"), (np.inf, "NaN or infinity"), (0.0, "only zeros")):
        with pytest.raises(ValueError, match=f"embedding of concept {HEADACHE} cannot be stored: .*{match}"):
            writer.upsert_concept_embeddings(
                session=session, index_type=FLAT, concept_ids=[HEADACHE], embeddings=np.full((1, 8), number)
            )
    with pytest.raises(ValueError, match="has 7 dimensions, the configuration says 8"):
        writer.upsert_concept_embeddings(
            session=session, index_type=FLAT, concept_ids=[HEADACHE], embeddings=np.ones((1, 7))
        )
    with pytest.raises(ValueError, match="2 concept_ids and 1 embeddings"):
        writer.upsert_concept_embeddings(session=session, index_type=FLAT, concept_ids=[1, 2], embeddings=[[1.0] * 8])
    session.commit()
    assert count(configured) == 0
    assert configured.execute("SELECT * FROM omop_emb.supplied_text").fetchall() == []


@pytest.mark.parametrize(
    ("variable", "setting"),
    [("OMOP_EMB_DOCUMENT_EMBEDDING_PREFIX", "document_prefix"), ("OMOP_EMB_QUERY_EMBEDDING_PREFIX", "query_prefix")],
)
def test_a_client_with_other_prefixes_is_refused_with_both_values(
    prefixes: None,
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
    prefixes: None, session: Session, configured: psycopg.Connection, endpoint: Endpoint
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
    for vectors, match in ((np.ones((1, 9)), "has 9 dimensions, configuration 'test' has 8"), (query * np.nan, "NaN")):
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


def test_vectors_are_normalised_for_inner_product(
    prefixes: None, configured: psycopg.Connection, session: Session, endpoint: Endpoint
) -> None:
    settings = {"api_base": endpoint.url, "model": "recorded", "document_prefix": "doc: ", "query_prefix": "query: "}
    configure(configured, "product", {**settings, "distance": "inner_product"})
    writer = EmbeddingWriterInterface(EmbeddingClient("recorded", endpoint.url), config="product")
    upsert(writer, session)
    for vector in writer.get_embeddings_by_concept_ids(session, FLAT, tuple(TEXTS)).values():
        assert np.linalg.norm(vector) == pytest.approx(1)
    for index_type in IndexType:
        (nearest,) = writer.get_nearest_concepts_from_query_texts(session, index_type, "pain", metric_type=COSINE)
        query = np.array(vector_for("query: pain", 8))
        for concept_id, text in TEXTS.items():
            document = np.array(vector_for(f"doc: {text}", 8))
            cosine = query @ document / np.linalg.norm(query) / np.linalg.norm(document)
            assert nearest[concept_id] == pytest.approx((1 + cosine) / 2, abs=1e-6)


def test_supplied_texts_belong_to_one_configuration(
    writer: EmbeddingWriterInterface,
    client: EmbeddingClient,
    session: Session,
    configured: psycopg.Connection,
    endpoint: Endpoint,
) -> None:
    settings = {"api_base": endpoint.url, "model": "recorded", "document_prefix": "doc: ", "query_prefix": "query: "}
    configure(configured, "beside", {**settings, "synonyms": False})
    beside = EmbeddingWriterInterface(client, config="beside")
    for each, words in ((writer, "my head hurts"), (beside, "cranial pain"), (beside, "pain of the head")):
        upsert(each, session, {HEADACHE: words})
        session.commit()
    for each, words, number in ((writer, "my head hurts", 1), (beside, "pain of the head", 2)):
        stored = each.get_embeddings_by_concept_ids(session, FLAT, [HEADACHE])[HEADACHE]
        np.testing.assert_array_equal(stored, np.array(vector_for(f"doc: {words}", 8), dtype=np.float32))
        assert configured.execute(
            f"SELECT count(*) FROM omop_emb.embedding_{number} WHERE live".encode()
        ).fetchone() == (1,)
    assert configured.execute("SELECT embedded FROM omop_emb_index(config => 'test')").fetchone() == (16,)
    assert configured.execute("SELECT embedded FROM omop_emb_index(config => 'beside')").fetchone() == (9,)
    for name, words, other in (
        ("test", "my head hurts", "pain of the head"),
        ("beside", "pain of the head", "my head hurts"),
    ):
        nearest = "SELECT matched_text FROM omop_emb.nearest_concepts(%s::real[], 1, config => %s)"
        assert configured.execute(nearest, [vector_for(f"doc: {words}", 8), name]).fetchone() == (words,)
        assert configured.execute(nearest, [vector_for(f"doc: {other}", 8), name]).fetchone() != (other,)
    status = "SELECT pending, stale, matching_vectors FROM omop_emb.status ORDER BY name"
    assert configured.execute(status).fetchall() == [(0, 0, 10), (0, 0, 17)]
    session.rollback()
    configured.execute("DELETE FROM omop_emb.config WHERE name = 'beside'")
    assert configured.execute("SELECT text FROM omop_emb.term WHERE kind = 'supplied'").fetchall() == [
        ("my head hurts",)
    ]


def test_writers_and_index_runs_at_once_lose_nothing(
    writer: EmbeddingWriterInterface, engine: Engine, configured: psycopg.Connection, connect: Connect
) -> None:
    failures: list[Exception] = []

    def write(number: int) -> None:
        try:
            with Session(engine) as session:
                for turn in range(4):
                    upsert(writer, session, {HEADACHE: f"pain {number} {turn}", ASPIRIN: f"pill {number} {turn}"})
                    upsert(writer, session, {INFARCTION: f"heart {number} {turn}", HEADACHE: f"ache {number} {turn}"})
                    session.commit()
        except Exception as error:
            failures.append(error)

    def index() -> None:
        try:
            connection = connect()
            for _ in range(6):
                connection.execute("SELECT * FROM omop_emb_index()")
        except psycopg.Error as error:
            failures.append(error)

    threads = [*(threading.Thread(target=write, args=[number]) for number in range(3)), threading.Thread(target=index)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    configured.execute("SELECT * FROM omop_emb_index()")
    assert configured.execute("SELECT pending, matching_vectors FROM omop_emb.status").fetchone() == (0, 19)
