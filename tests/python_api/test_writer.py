"""What Python stores is what SQL searches."""

import threading

import numpy as np
import psycopg
import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from omop_emb import (
    EmbeddingClient,
    EmbeddingWriterInterface,
    IndexType,
    OmopEmbError,
)
from omop_emb.configuration import configure
from tests.conftest import Connect
from tests.endpoint import Endpoint, vector_for
from tests.python_api.common import (
    ASPIRIN,
    COSINE,
    FLAT,
    HEADACHE,
    INFARCTION,
    INVALID,
    TEXTS,
    count,
    sorted_by,
    upsert,
)


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


def test_vectors_are_normalised_for_inner_product(
    client: EmbeddingClient, configured: psycopg.Connection, session: Session, endpoint: Endpoint
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
