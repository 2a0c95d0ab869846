"""Every vector says which settings made it, and vectors of other settings never answer a search."""

import psycopg
import pytest

from omop_emb.configuration import configure
from omop_emb.demo.cluster import Cluster
from omop_emb.install import migrate
from omop_emb.searching import status
from tests.endpoint import Endpoint
from tests.installing import tool

MADE_UNDER = """
    SELECT p.model, p.dimensions, p.document_prefix, p.document_params, p.normalised, count(*),
        bool_and(e.text_hash = sha256(convert_to(t.text, 'UTF8'))), bool_and(e.embedded_at <= clock_timestamp())
    FROM omop_emb.embedding_{} e
    JOIN omop_emb.provenance p USING (provenance_id)
    JOIN (SELECT DISTINCT text_hash, text FROM omop_emb.term) t USING (text_hash)
    GROUP BY 1, 2, 3, 4, 5"""


def vectors(db: psycopg.Connection, name: str = "test") -> tuple[int, int, int]:
    (row,) = (row for row in status(db) if row["name"] == name)
    return row["matching_vectors"], row["stale_vectors"], row["orphaned_vectors"]


def test_each_vector_points_to_the_settings_that_made_it(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    settings = {"api_base": endpoint.url, "model": "m", "document_params": '{"task": "passage"}'}
    configure(indexed, "second", {**settings, "distance": "inner_product"})
    indexed.execute("SELECT * FROM omop_emb_index(config => 'second')")
    for number, expected in (
        (1, ("recorded", 8, "doc: ", {}, False, 16, True, True)),
        (2, ("m", 8, "", {"task": "passage"}, True, 16, True, True)),
    ):
        assert indexed.execute(MADE_UNDER.format(number).encode()).fetchall() == [expected]


def test_a_vector_of_other_settings_cannot_be_put_among_them(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    configure(indexed, "second", {"api_base": endpoint.url, "model": "m"})
    indexed.execute("SELECT * FROM omop_emb_index(config => 'second')")
    for statement in (
        "INSERT INTO omop_emb.embedding_1 TABLE omop_emb.embedding_2",
        "UPDATE omop_emb.embedding_1 SET provenance_id = 2",
    ):
        with pytest.raises(psycopg.errors.CheckViolation):
            indexed.execute(statement.encode())
    assert vectors(indexed) == vectors(indexed, "second") == (16, 0, 0)


def test_settings_changed_behind_the_triggers_are_an_error_with_the_counts_and_both_values(
    indexed: psycopg.Connection, endpoint: Endpoint
) -> None:
    with indexed.transaction():
        indexed.execute("SET LOCAL session_replication_role = replica")
        indexed.execute("UPDATE omop_emb.config SET document_prefix = 'doc:', model = 'newer'")
    for call in ("omop_emb_search('x')", "omop_emb_similar(378253)", "omop_emb_index()"):
        with pytest.raises(psycopg.Error) as raised:
            indexed.execute(f"SELECT * FROM {call}".encode())
        assert raised.value.sqlstate == "OE001"
        assert raised.value.diag.message_primary == (
            "configuration 'test' holds 16 vectors that were made under other document settings:"
            ' document_prefix is "doc:", the vectors were made with "doc: ";'
            ' model is "newer", the vectors were made with "recorded"'
        )
    assert vectors(indexed) == (0, 16, 0)
    assert endpoint.requests == []
    indexed.execute("SELECT omop_emb.discard('test')")
    assert indexed.execute("SELECT embedded FROM omop_emb_index()").fetchone() == (16,)
    assert set(endpoint.texts) == {
        f"doc:{text}" for (text,) in indexed.execute("SELECT text FROM omop_emb.term").fetchall()
    }
    assert vectors(indexed) == (16, 0, 0)
    assert len(indexed.execute("SELECT * FROM omop_emb_search('x', 10)").fetchall()) == 10


def test_vectors_of_texts_that_are_gone_are_counted_and_come_back_for_nothing(
    indexed: psycopg.Connection, endpoint: Endpoint
) -> None:
    indexed.execute("UPDATE cdm.concept SET concept_name = 'renamed' WHERE concept_id = 378253")
    indexed.execute("SELECT * FROM omop_emb_index()")
    assert vectors(indexed) == (16, 0, 1)
    endpoint.requests.clear()
    indexed.execute("UPDATE cdm.concept SET concept_name = 'Headache' WHERE concept_id = 378253")
    assert indexed.execute("SELECT embedded, reused, removed FROM omop_emb_index()").fetchone() == (0, 1, 1)
    assert vectors(indexed) == (16, 0, 1)
    assert endpoint.requests == []


def test_a_restored_database_knows_what_made_its_vectors(
    indexed: psycopg.Connection, dsn: str, cluster: Cluster, endpoint: Endpoint
) -> None:
    expected = indexed.execute(MADE_UNDER.format(1).encode()).fetchall()
    found = indexed.execute("SELECT * FROM omop_emb_search('x', 10)").fetchall()
    endpoint.requests.clear()
    cluster.create_database("restored")
    try:
        tool("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", cluster.dsn_for("restored"), stdin=tool("pg_dump", dsn))
        migrate(cluster.dsn_for("restored"))
        with psycopg.connect(cluster.dsn_for("restored"), autocommit=True) as restored:
            assert restored.execute(MADE_UNDER.format(1).encode()).fetchall() == expected
            assert vectors(restored) == (16, 0, 0)
            assert restored.execute("SELECT embedded FROM omop_emb_index()").fetchone() == (0,)
            assert restored.execute("SELECT * FROM omop_emb_search('x', 10)").fetchall() == found
            with pytest.raises(psycopg.errors.CheckViolation):
                restored.execute("UPDATE omop_emb.embedding_1 SET provenance_id = 7")
    finally:
        cluster.drop_database("restored")
    # The dump has the remembered vector of the query.
    assert endpoint.texts == []
