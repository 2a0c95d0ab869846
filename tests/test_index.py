"""What omop_emb_index() embeds, reuses, removes and reports, after every kind of change to the vocabulary."""

import threading
import time
from dataclasses import astuple
from typing import Any

import psycopg
import pytest
from psycopg import sql

from omop_emb import indexing
from omop_emb.configuration import configure
from omop_emb.demo.cluster import Cluster
from omop_emb.errors import OmopEmbError
from tests.conftest import Connect, new_database
from tests.endpoint import Answer, Endpoint

SETTINGS = {"model": "recorded", "document_prefix": "doc: ", "query_prefix": "query: "}
MANY = """
    INSERT INTO cdm.concept (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id, standard_concept,
        concept_code)
    SELECT 5000 + i, 'many ' || i, 'Condition', 'SNOMED', 'Clinical Finding', 'S', i::text
    FROM generate_series(1, %s) i"""


def run(connection: psycopg.Connection, arguments: str = "", *values: object) -> tuple[int, ...]:
    """Call omop_emb_index; returns embedded, reused, removed, failed, remaining."""
    statement = sql.SQL("SELECT * FROM omop_emb_index({})").format(sql.SQL(arguments))
    row = connection.execute(statement, values).fetchone()
    assert row is not None
    return tuple(row)


def status(connection: psycopg.Connection, config: str = "test") -> tuple[Any, ...]:
    """Return concepts in scope, indexed, pending, stale, failed, index valid, triggers installed."""
    row = connection.execute(
        "SELECT concepts_in_scope, indexed, pending, stale, failed, index_valid, triggers_installed"
        " FROM omop_emb.status WHERE name = %s",
        [config],
    ).fetchone()
    assert row is not None
    return tuple(row)


def index_valid(connection: psycopg.Connection, table: str = "omop_emb.embedding_1") -> list[tuple[bool, bool]]:
    return connection.execute(
        "SELECT i.indisvalid, i.indisready FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'hnsw' AND i.indrelid = %s::regclass",
        [table],
    ).fetchall()


def searchable(connection: psycopg.Connection, config: str | None = None) -> list[Any]:
    """Everything a search can return, with its similarity, for three queries."""
    found: list[Any] = []
    for query in ("one", "two", "three"):
        found += connection.execute(
            "SELECT %s, s.* FROM omop_emb_search(%s, 100000, config => %s) s", [query, query, config]
        ).fetchall()
    return found


@pytest.fixture
def configured(db: psycopg.Connection, endpoint: Endpoint) -> psycopg.Connection:
    """Give a connection to a database with the active configuration 'test', not indexed yet."""
    configure(db, "test", {"api_base": endpoint.url, **SETTINGS})
    endpoint.requests.clear()
    return db


def test_first_and_second_run(configured: psycopg.Connection, endpoint: Endpoint) -> None:
    assert status(configured) == (10, 0, 10, 0, 0, False, True)
    # Two concepts share a name.
    assert run(configured) == (16, 1, 0, 0, 0)
    assert len(endpoint.texts) == len(set(endpoint.texts)) == 16
    assert status(configured) == (10, 10, 0, 0, 0, True, True)
    assert index_valid(configured) == [(True, True)]
    assert run(configured) == (0, 0, 0, 0, 0)
    assert len(endpoint.texts) == 16


@pytest.mark.parametrize(
    ("change", "counts", "sent"),
    [
        ("UPDATE cdm.concept SET concept_name = 'Pain in head' WHERE concept_id = 378253", (1, 0, 1, 0, 0), 1),
        ("UPDATE cdm.concept SET concept_name = 'aspirin' WHERE concept_id = 378253", (0, 1, 1, 0, 0), 0),
        ("UPDATE cdm.concept SET concept_name = 'new' WHERE concept_id = 312327", (1, 0, 0, 0, 0), 1),
        ("INSERT INTO cdm.concept_synonym VALUES (378253, 'Heart attack', 0)", (0, 1, 0, 0, 0), 0),
        ("INSERT INTO cdm.concept_synonym VALUES (378253, 'aspirin', 0), (378253, 'aspirin', 1)", (0, 1, 0, 0, 0), 0),
        ("INSERT INTO cdm.concept_synonym VALUES (1, 'of no concept', 0)", (0, 0, 0, 0, 0), 0),
        ("INSERT INTO cdm.concept_synonym VALUES (378253, 'x', 0), (312327, 'x', 0)", (1, 1, 0, 0, 0), 1),
        ("DELETE FROM cdm.concept WHERE concept_id = 4237458", (0, 0, 3, 0, 0), 0),
        ("DELETE FROM cdm.concept WHERE concept_id = 312327", (0, 0, 0, 0, 0), 0),
        ("DELETE FROM cdm.concept_synonym WHERE concept_id = 4237458", (0, 0, 2, 0, 0), 0),
        ("UPDATE cdm.concept SET invalid_reason = 'D' WHERE concept_id = 378253", (0, 0, 2, 0, 0), 0),
        ("UPDATE cdm.concept SET invalid_reason = NULL WHERE concept_id = 45571652", (1, 0, 0, 0, 0), 1),
        ("UPDATE cdm.concept SET domain_id = 'Other', valid_end_date = '2020-01-01'", (0, 0, 0, 0, 0), 0),
        ("TRUNCATE cdm.concept", (0, 0, 16, 0, 0), 0),
        ("TRUNCATE cdm.concept_synonym", (0, 0, 7, 0, 0), 0),
    ],
)
def test_counts_after_a_change(
    indexed: psycopg.Connection, endpoint: Endpoint, change: str, counts: tuple[int, ...], sent: int
) -> None:
    indexed.execute(sql.SQL(change))
    assert run(indexed) == counts
    assert len(endpoint.texts) == sent
    scope = indexed.execute("SELECT count(*) FROM cdm.concept WHERE invalid_reason IS NULL").fetchone()
    assert scope is not None
    assert status(indexed) == (scope[0], scope[0], 0, 0, 0, True, True)
    assert run(indexed) == (0, 0, 0, 0, 0)
    assert index_valid(indexed) == [(True, True)]


def test_a_refresh_by_truncate_and_reload_sends_only_what_is_new(
    indexed: psycopg.Connection, endpoint: Endpoint
) -> None:
    before = searchable(indexed)
    for table in ("concept", "concept_synonym"):
        indexed.execute(sql.SQL("CREATE TABLE kept_{0} AS TABLE cdm.{0}").format(sql.SQL(table)))
    reload = "INSERT INTO cdm.concept TABLE kept_concept; INSERT INTO cdm.concept_synonym TABLE kept_concept_synonym"
    endpoint.requests.clear()

    indexed.execute("TRUNCATE cdm.concept, cdm.concept_synonym")
    indexed.execute(sql.SQL(reload))
    assert run(indexed) == (0, 0, 0, 0, 0)
    assert searchable(indexed) == before

    # Indexed while the tables were empty: the vectors are kept aside.
    indexed.execute("TRUNCATE cdm.concept, cdm.concept_synonym")
    assert run(indexed) == (0, 0, 16, 0, 0)
    assert searchable(indexed) == []
    indexed.execute(sql.SQL(reload))
    indexed.execute("UPDATE cdm.concept SET concept_name = 'new name' WHERE concept_id = 378253")
    embedded, reused, removed, failed, remaining = run(indexed)
    assert (embedded, reused, removed, failed, remaining) == (1, 16, 0, 0, 0)
    assert [text for text in endpoint.texts if text.startswith("doc: ")] == ["doc: new name"]
    indexed.execute("UPDATE cdm.concept SET concept_name = 'Headache' WHERE concept_id = 378253")
    assert run(indexed) == (0, 1, 1, 0, 0)
    assert searchable(indexed) == before


def test_max_concepts_bounds_each_call(configured: psycopg.Connection, endpoint: Endpoint) -> None:
    total, calls, left = 0, 0, [16]
    while left[-1]:
        embedded, _, _, failed, remaining = run(configured, "max_concepts => 3")
        assert failed == 0
        assert 0 < embedded <= 3 * 4
        assert remaining == left[-1] - embedded
        total, calls, left = total + embedded, calls + 1, [*left, remaining]
    assert total == len(endpoint.texts) == len(set(endpoint.texts)) == 16
    assert calls >= 3
    assert status(configured)[:3] == (10, 10, 0)


def test_concept_ids_are_indexed_alone(configured: psycopg.Connection, endpoint: Endpoint) -> None:
    assert run(configured, "'{378253, -1, 2000000000, NULL}'") == (2, 0, 0, 0, 0)
    assert sorted(endpoint.texts) == ["doc: Cephalgia", "doc: Headache"]
    assert [row[1:3] for row in searchable(configured)] == [(1, 378253)] * 3
    assert run(configured, "'{}'") == (0, 0, 0, 0, 0)
    assert run(configured, "'{45571652}'") == (0, 0, 0, 0, 0)
    assert run(configured, "'{4237458, 320128}', max_concepts => 1") == (2, 0, 0, 0, 3)
    assert status(configured)[:3] == (10, 2, 8)
    assert run(configured) == (12, 1, 0, 0, 0)
    configured.execute("DELETE FROM cdm.concept WHERE concept_id IN (378253, 1112807)")
    assert run(configured, "'{378253}'") == (0, 0, 2, 0, 0)
    assert run(configured) == (0, 0, 2, 0, 0)


def test_a_text_that_failed_is_tried_again_at_once_for_its_concept(
    configured: psycopg.Connection, endpoint: Endpoint
) -> None:
    endpoint.respond = lambda request: Answer(status=400) if "doc: Cephalgia" in request["input"] else None
    assert run(configured) == (15, 1, 0, 1, 0)
    assert status(configured)[:5] == (10, 9, 1, 0, 1)
    assert run(configured) == (0, 0, 0, 0, 0)
    assert run(configured, "'{378253}'") == (0, 0, 0, 1, 0)
    failures = configured.execute(
        "SELECT config, concept_id, text, attempts, next_attempt > now() FROM omop_emb.failures"
    )
    assert failures.fetchall() == [("test", 378253, "Cephalgia", 2, True)]
    endpoint.respond = lambda _: None
    assert run(configured, "'{378253}'") == (1, 0, 0, 0, 0)
    assert status(configured)[:5] == (10, 10, 0, 0, 0)
    assert configured.execute("SELECT FROM omop_emb.failures").fetchall() == []


def test_a_failure_is_told_of_what_is_wanted_only(configured: psycopg.Connection, endpoint: Endpoint) -> None:
    """The text of a wanted term may also be one of a kind that is not indexed, or of a concept out of scope."""
    configured.execute("UPDATE omop_emb.config SET mapped_terms = true")
    # The name of 35207668, which is a mapped term of 312327.
    configured.execute("UPDATE cdm.concept SET concept_name = 'poison' WHERE concept_id = 35207668")
    configured.execute("DELETE FROM cdm.concept_relationship")
    configured.execute(
        "INSERT INTO cdm.concept_relationship (concept_id_1, concept_id_2, relationship_id)"
        " VALUES (35207668, 312327, 'Maps to')"
    )
    configured.execute("INSERT INTO cdm.concept_synonym VALUES (378253, 'poison', 0), (378253, 'poison too', 0)")
    endpoint.respond = lambda request: Answer(400) if any("poison" in text for text in request["input"]) else None
    run(configured)
    failures = "SELECT concept_id, text FROM omop_emb.failures ORDER BY 1, 2"
    told = [(312327, "poison"), (378253, "poison"), (378253, "poison too"), (35207668, "poison")]
    assert configured.execute(failures).fetchall() == told
    assert status(configured)[4] == 3
    changes = {"mapped_terms = false": 312327, "synonyms = false": 378253, "vocabularies = '{SNOMED}'": 35207668}
    for change, concept_id in changes.items():
        configured.execute(f"UPDATE omop_emb.config SET {change}".encode())
        told = [row for row in told if row[0] != concept_id]
        for _ in range(2):
            assert configured.execute(failures).fetchall() == told
            assert status(configured)[4] == len({row[0] for row in told})
            run(configured)
    assert configured.execute("SELECT last_error FROM omop_emb.status").fetchone() == (None,)


def test_the_other_configuration_is_left_to_its_own_run(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    configure(indexed, "other", {"api_base": endpoint.url, **SETTINGS, "document_prefix": "other: "})
    endpoint.requests.clear()
    indexed.execute("UPDATE cdm.concept SET concept_name = 'new' WHERE concept_id = 378253")
    assert run(indexed) == (1, 0, 1, 0, 0)
    assert status(indexed, "other")[:3] == (10, 0, 10)
    assert run(indexed, "config => 'other'") == (16, 1, 0, 0, 0)
    assert endpoint.texts[0] == "doc: new"
    assert all(text.startswith("other: ") for text in endpoint.texts[1:])
    assert status(indexed, "other")[:3] == status(indexed)[:3] == (10, 10, 0)


def test_changes_past_the_triggers_are_seen_by_status_and_repaired(
    indexed: psycopg.Connection, endpoint: Endpoint
) -> None:
    indexed.execute("ALTER TABLE cdm.concept DISABLE TRIGGER USER")
    indexed.execute("ALTER TABLE cdm.concept_synonym DISABLE TRIGGER USER")
    assert status(indexed) == (10, 10, 0, 0, 0, True, False)
    indexed.execute("UPDATE cdm.concept SET concept_name = 'renamed' WHERE concept_id = 378253")
    indexed.execute("UPDATE cdm.concept SET domain_id = 'Moved' WHERE concept_id = 320128")
    indexed.execute("DELETE FROM cdm.concept WHERE concept_id = 4237458")
    indexed.execute("INSERT INTO cdm.concept_synonym VALUES (1112807, 'ASA', 0)")
    indexed.execute("ALTER TABLE cdm.concept ENABLE TRIGGER USER")
    indexed.execute("ALTER TABLE cdm.concept_synonym ENABLE TRIGGER USER")
    assert indexed.execute("TABLE omop_emb.queue").fetchall() == []
    # Pending: the renamed one and the one with a synonym more. Stale: the renamed, the moved, the deleted one.
    assert status(indexed) == (9, 7, 2, 3, 0, True, True)
    assert run(indexed) == (2, 0, 4, 0, 0)
    assert status(indexed) == (9, 9, 0, 0, 0, True, True)
    assert sorted(endpoint.texts) == ["doc: ASA", "doc: renamed"]
    moved = indexed.execute("SELECT concept_id FROM omop_emb_search('x', domains => '{Moved}')").fetchall()
    assert moved == [(320128,)]


def test_a_change_of_scope(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    indexed.execute("UPDATE omop_emb.config SET domains = '{Drug}'")
    assert status(indexed)[:3] == (3, 3, 0)
    assert {row[2] for row in searchable(indexed)} == {1112807, 1127433, 21604254}
    assert run(indexed) == (0, 0, 12, 0, 0)
    indexed.execute("UPDATE omop_emb.config SET synonyms = false")
    assert run(indexed) == (0, 0, 1, 0, 0)
    assert endpoint.texts == ["query: one", "query: two", "query: three"]
    indexed.execute("UPDATE omop_emb.config SET domains = NULL, synonyms = true, include_invalid = true")
    # The names shared by two concepts and 13 texts come back; the invalid concept was never embedded.
    assert run(indexed) == (1, 14, 0, 0, 0)
    assert endpoint.texts[3:] == ["doc: Headache, unspecified"]
    assert status(indexed)[:3] == (11, 11, 0)
    indexed.execute("UPDATE omop_emb.config SET standard_only = true")
    assert run(indexed)[2] == 2
    assert status(indexed)[:3] == (8, 8, 0)


def test_two_sessions_never_send_a_text_twice(
    configured: psycopg.Connection, connect: Connect, endpoint: Endpoint
) -> None:
    configured.execute(MANY, [300])
    configured.execute("UPDATE omop_emb.config SET batch_size = 16")

    def slowly(_: object) -> None:
        time.sleep(0.01)

    endpoint.respond = slowly
    counts: list[tuple[int, ...]] = []

    def work(connection: psycopg.Connection, by_client: bool) -> None:
        counts.append(astuple(indexing.index(connection)) if by_client else run(connection))

    threads = [threading.Thread(target=work, args=(connect(), by_client)) for by_client in (True, False, True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(counts) == 4
    # What a client has a lease on, the function leaves to it.
    assert [row[3] for row in counts] == [0] * 4
    assert sum(row[0] for row in counts) == len(endpoint.texts) == len(set(endpoint.texts)) == 316
    assert status(configured) == (310, 310, 0, 0, 0, True, True)


@pytest.mark.parametrize("many", [0, 1200])
def test_the_loop_of_the_command_line_does_what_the_function_does(
    cluster: Cluster, installed_template: str, endpoint: Endpoint, many: int
) -> None:
    """With 1,200 texts on an empty configuration both drop the HNSW index and build it afterwards."""
    results, found, progress = [], [], list[tuple[int, int]]()

    def show(step: str, done: int, total: int | None, note: str = "") -> None:
        if step == "embedding":
            progress.append((done, total or 0))

    for by_client in (True, False):
        for dsn in new_database(cluster, installed_template):
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute(MANY, [many])
                configure(connection, "test", {"api_base": endpoint.url, **SETTINGS})
                if by_client:
                    results.append(astuple(indexing.index(connection, None, show)))
                else:
                    results.append(run(connection))
                found.append(searchable(connection))
                assert index_valid(connection) == [(True, True)]
                assert status(connection) == (many + 10, many + 10, 0, 0, 0, True, True)
    assert results[0] == results[1] == (16 + many, 1, 0, 0, 0)
    assert found[0] == found[1]
    assert progress[0] == (0, 16 + many)
    assert progress[-1] == (16 + many, 16 + many)
    assert progress == sorted(progress)


@pytest.mark.parametrize("by_client", [True, False])
def test_an_endpoint_that_dies_in_a_bulk_load_costs_no_text_twice(
    configured: psycopg.Connection, endpoint: Endpoint, by_client: bool
) -> None:
    configured.execute(MANY, [1200])
    configured.execute("UPDATE omop_emb.config SET max_retries = 0")
    endpoint.respond = lambda _: Answer(status=500) if len(endpoint.requests) > 10 else None
    if by_client:
        with pytest.raises(OmopEmbError, match="HTTP 500"):
            indexing.index(configured, patience_seconds=1)
    else:
        embedded, _, _, failed, remaining = run(configured)
        assert embedded + remaining == 1216
        assert failed == 0
    good = [text for request in endpoint.requests[:10] for text in request["input"]]
    endpoint.respond = lambda _: None
    assert len(configured.execute("SELECT FROM omop_emb_search('x', 5)").fetchall()) == 5
    endpoint.requests.clear()
    if by_client:
        indexing.index(configured)
    else:
        run(configured)
    kept = set(good) - set(endpoint.texts)
    assert len(kept) >= 256
    assert len(set(good) | set(endpoint.texts)) == 1216
    assert len(endpoint.texts) == len(set(endpoint.texts))
    assert status(configured) == (1210, 1210, 0, 0, 0, True, True)
    assert index_valid(configured) == [(True, True)]


def test_batches_that_take_long_to_store_are_stored_in_parts(
    configured: psycopg.Connection, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omop_emb.indexing.storing.STORE_SECONDS", 0.0)
    configured.execute(MANY, [300])
    endpoint.respond = lambda request: Answer(400) if "doc: many 99" in request["input"] else None
    done = indexing.index(configured)
    assert (done.embedded, done.reused, done.failed, done.remaining) == (315, 1, 1, 0)
    assert configured.execute("SELECT count(*) FROM omop_emb.job").fetchone() == (0,)
    assert configured.execute("SELECT text, attempts FROM omop_emb.failures").fetchall() == [("many 99", 1)]
    assert configured.execute(
        "SELECT count(*), count(DISTINCT xmin::text) > 60 FROM omop_emb.embedding_1"
    ).fetchone() == (
        315,
        True,
    )
