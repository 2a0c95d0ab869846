"""What a statement on the vocabulary does at once, what it queues, and what it never does."""

import threading
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from tests.conftest import Connect
from tests.endpoint import Endpoint

INSERT = """
    INSERT INTO cdm.concept (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id, standard_concept,
        concept_code)
    SELECT i, 'new ' || i, 'Condition', 'SNOMED', 'x', 'S', '' FROM generate_series(%s::int, %s::int) i"""


def jobs(connection: psycopg.Connection) -> list[str]:
    return [row[0] for row in connection.execute("SELECT concept_ids::text FROM omop_emb.queue ORDER BY job_id")]


def found(connection: psycopg.Connection, arguments: str = "") -> set[tuple[int, str]]:
    """Everything searches can find: pairs of concept and best matching text, over several queries."""
    statement = sql.SQL("SELECT concept_id, matched_text FROM omop_emb_search(%s, 1000{})").format(sql.SQL(arguments))
    pairs: set[tuple[int, str]] = set()
    for query in ("Heart attack", "Broken collarbone", "Cephalgia", "Headache", "anything"):
        pairs.update(connection.execute(statement, [query]).fetchall())
    return pairs


@pytest.fixture
def exact(indexed: psycopg.Connection) -> psycopg.Connection:
    """Give the indexed database with equal prefixes, so that a query in a stored text's words finds that text."""
    indexed.execute("UPDATE omop_emb.config SET query_prefix = document_prefix")
    return indexed


@pytest.mark.parametrize(
    ("statement", "job"),
    [
        ("INSERT INTO cdm.concept SELECT 9, concept_name, domain_id, vocabulary_id, concept_class_id, standard_concept,"
         " concept_code FROM cdm.concept WHERE concept_id = 378253", "{[9,10)}"),
        ("UPDATE cdm.concept SET concept_name = 'x' WHERE concept_id IN (378253, 320128)",
         "{[320128,320129),[378253,378254)}"),
        ("UPDATE cdm.concept SET concept_name = concept_name || CASE WHEN concept_id = 378253 THEN '!' ELSE '' END",
         "{[378253,378254)}"),
        ("UPDATE cdm.concept SET concept_name = upper(concept_name) WHERE concept_id = 378253", "{[378253,378254)}"),
        ("UPDATE cdm.concept SET concept_name = concept_name || ' ' WHERE concept_id = 378253", "{[378253,378254)}"),
        ("UPDATE cdm.concept SET concept_id = 5 WHERE concept_id = 378253", "{[5,6),[378253,378254)}"),
        ("DELETE FROM cdm.concept WHERE concept_id IN (378253, 2)", "{[378253,378254)}"),
        ("UPDATE cdm.concept SET invalid_reason = NULL WHERE concept_id = 45571652", "{[45571652,45571653)}"),
        ("INSERT INTO cdm.concept_synonym VALUES (378253, 'x', 0), (378254, 'x', 0), (378253, 'y', 0)",
         "{[378253,378255)}"),
        ("UPDATE cdm.concept_synonym SET concept_synonym_name = 'x' WHERE concept_id = 378253", "{[378253,378254)}"),
        ("UPDATE cdm.concept_synonym SET concept_id = 5 WHERE concept_id = 378253", "{[5,6),[378253,378254)}"),
        ("DELETE FROM cdm.concept_synonym WHERE concept_id = 378253", "{[378253,378254)}"),
        ("TRUNCATE cdm.concept", "{(,)}"),
        ("TRUNCATE cdm.concept_synonym", "{(,)}"),
        ("TRUNCATE cdm.concept, cdm.concept_synonym", "{(,)}"),
        ("INSERT INTO cdm.concept SELECT i, 'n', 'd', 'v', 'c', NULL, '' FROM generate_series(1, 5000) i"
         " ON CONFLICT (concept_id) DO UPDATE SET concept_name = 'other'", "{[1,5001)}"),
        ("MERGE INTO cdm.concept c USING (VALUES (378253, 'merged')) n (id, name) ON c.concept_id = n.id"
         " WHEN MATCHED THEN UPDATE SET concept_name = n.name", "{[378253,378254)}"),
        ("WITH moved AS (DELETE FROM cdm.concept WHERE concept_id = 378253 RETURNING 1)"
         " SELECT count(*) FROM moved", "{[378253,378254)}"),
    ],
)  # fmt: skip
def test_a_statement_queues_one_job_with_what_changed(
    indexed: psycopg.Connection, endpoint: Endpoint, statement: str, job: str
) -> None:
    indexed.execute(sql.SQL(statement))
    assert jobs(indexed) == [job]
    assert endpoint.requests == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE cdm.concept SET valid_end_date = '2030-01-01', concept_code = 'x'",
        "UPDATE cdm.concept SET concept_name = concept_name, concept_id = concept_id",
        "UPDATE cdm.concept SET domain_id = 'x', vocabulary_id = 'x', concept_class_id = 'x', standard_concept = NULL"
        " WHERE invalid_reason IS NULL",
        "UPDATE cdm.concept SET invalid_reason = 'D'",
        "UPDATE cdm.concept SET concept_name = 'x' WHERE false",
        "DELETE FROM cdm.concept WHERE false",
        "INSERT INTO cdm.concept SELECT * FROM cdm.concept ON CONFLICT DO NOTHING",
        "INSERT INTO cdm.concept SELECT * FROM cdm.concept ON CONFLICT (concept_id)"
        " DO UPDATE SET concept_name = excluded.concept_name",
        "UPDATE cdm.concept_synonym SET language_concept_id = 1",
        "DELETE FROM cdm.concept_synonym WHERE false",
        "UPDATE cdm.concept_ancestor SET min_levels_of_separation = 2",
        "ANALYZE cdm.concept",
    ],
)
def test_a_statement_that_changes_no_text_queues_nothing(
    indexed: psycopg.Connection, endpoint: Endpoint, statement: str
) -> None:
    indexed.execute(sql.SQL(statement))
    assert jobs(indexed) == []
    indexed.execute("SELECT omop_emb_index()")
    assert endpoint.requests == []


def test_a_swap_of_two_ids_queues_both(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    indexed.execute("ALTER TABLE cdm.concept DROP CONSTRAINT concept_pkey")
    indexed.execute("UPDATE cdm.concept SET concept_id = 320128 + 378253 - concept_id"
                    " WHERE concept_id IN (320128, 378253)")  # fmt: skip
    assert jobs(indexed) == ["{[320128,320129),[378253,378254)}"]
    indexed.execute("SELECT omop_emb_index()")
    assert endpoint.requests == []
    assert indexed.execute(
        "SELECT concept_id, concept_name FROM omop_emb_search('x', 100) WHERE concept_id IN (320128, 378253) ORDER BY 1"
    ).fetchall() == [(320128, "Headache"), (378253, "Essential hypertension")]


def test_jobs_that_are_covered_are_not_added_again(indexed: psycopg.Connection) -> None:
    for _ in range(5):
        indexed.execute("UPDATE cdm.concept SET concept_name = concept_name || '!' WHERE concept_id = 378253")
    indexed.execute("UPDATE cdm.concept SET concept_name = concept_name || '!' WHERE concept_id = 320128")
    indexed.execute("DELETE FROM cdm.concept WHERE concept_id IN (378253, 320128)")
    indexed.execute("INSERT INTO cdm.concept_synonym VALUES (378253, 'x', 0)")
    assert jobs(indexed) == ["{[378253,378254)}", "{[320128,320129)}", "{[320128,320129),[378253,378254)}"]
    indexed.execute("SELECT omop_emb_index('{378253}')")
    assert jobs(indexed) == ["{[320128,320129)}", "{[320128,320129)}"]
    indexed.execute("TRUNCATE cdm.concept")
    indexed.execute(INSERT, [1, 10])
    indexed.execute("TRUNCATE cdm.concept_synonym")
    assert jobs(indexed)[2:] == ["{(,)}"]
    indexed.execute("SELECT omop_emb_index()")
    assert jobs(indexed) == []


def test_filter_attributes_are_seen_at_once_without_embedding(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    search = "SELECT concept_id, concept_code, standard_concept FROM omop_emb_search('x', 100, {}) ORDER BY 1"
    filters = ", ".join(["domains => '{Pain}'", "vocabularies => '{LOCAL}'", "concept_classes => '{Symptom}'"])
    statement = sql.SQL(search).format(sql.SQL(filters))
    assert indexed.execute(statement).fetchall() == []
    indexed.execute(
        "UPDATE cdm.concept SET domain_id = 'Pain', vocabulary_id = 'LOCAL', concept_class_id = 'Symptom',"
        " concept_code = 'L1', standard_concept = 'C' WHERE concept_id IN (378253, 320128)"
    )
    assert indexed.execute(statement).fetchall() == [(320128, "L1", "C"), (378253, "L1", "C")]
    indexed.execute("UPDATE cdm.concept SET standard_concept = '' WHERE concept_id = 378253")
    assert indexed.execute(statement).fetchall() == [(320128, "L1", "C"), (378253, "L1", None)]
    indexed.execute("UPDATE cdm.concept SET invalid_reason = 'U' WHERE concept_id = 378253")
    assert indexed.execute(statement).fetchall() == [(320128, "L1", "C")]
    indexed.execute("UPDATE cdm.concept SET invalid_reason = NULL WHERE concept_id = 378253")
    assert len(indexed.execute(statement).fetchall()) == 2
    assert jobs(indexed) == []
    assert endpoint.texts == ["query: x"]


def test_what_is_deleted_is_not_found_any_more_at_once(exact: psycopg.Connection) -> None:
    assert {(4329847, "Heart attack"), (378253, "Headache"), (4237458, "Broken collarbone")} <= found(exact)
    exact.execute("DELETE FROM cdm.concept WHERE concept_id = 378253")
    assert {concept for concept, _ in found(exact)}.isdisjoint({378253})
    exact.execute("DELETE FROM cdm.concept_synonym WHERE concept_synonym_name = 'Heart attack'")
    assert "Heart attack" not in {text for _, text in found(exact)}
    exact.execute("UPDATE cdm.concept_synonym SET concept_synonym_name = 'x' WHERE concept_synonym_name ~ 'Broken'")
    assert "Broken collarbone" not in {text for _, text in found(exact)}
    exact.execute("UPDATE cdm.concept SET concept_id = 5 WHERE concept_id = 320128")
    assert {concept for concept, _ in found(exact)} == {
        4329847, 312327, 4237458, 1112807, 1127433, 21604254, 35207668, 3004249,
    }  # fmt: skip
    exact.execute("SELECT omop_emb_index()")
    assert 5 in {concept for concept, _ in found(exact)}


def test_a_synonym_that_is_left_once_more_is_still_found(exact: psycopg.Connection) -> None:
    """The same synonym in two languages are two rows with one text."""
    exact.execute("INSERT INTO cdm.concept_synonym VALUES (4329847, 'Heart attack', 4182347)")
    exact.execute("SELECT omop_emb_index()")
    exact.execute("DELETE FROM cdm.concept_synonym WHERE language_concept_id = 4182347")
    exact.execute("SELECT omop_emb_index()")
    assert (4329847, "Heart attack") in found(exact)


def test_a_renamed_concept_is_found_by_its_old_text_until_it_is_indexed_and_shows_its_new_name(
    exact: psycopg.Connection, endpoint: Endpoint
) -> None:
    exact.execute("UPDATE cdm.concept SET concept_name = 'Pain in head' WHERE concept_id = 378253")
    row = exact.execute("SELECT concept_id, concept_name, matched_text FROM omop_emb_search('Headache', 1)").fetchone()
    assert row == (378253, "Pain in head", "Headache")
    exact.execute("SELECT omop_emb_index()")
    row = exact.execute("SELECT concept_id, similarity FROM omop_emb_search('Pain in head', 1)").fetchone()
    assert row == (378253, pytest.approx(1))
    assert "Headache" not in {text for _, text in found(exact)}


@pytest.mark.parametrize("tables", ["cdm.concept", "cdm.concept, cdm.concept_synonym, cdm.concept_ancestor"])
def test_after_truncate_search_goes_on_answering_until_the_index_run(exact: psycopg.Connection, tables: str) -> None:
    before = found(exact)
    exact.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(tables)))
    assert jobs(exact) == ["{(,)}"]
    assert found(exact) == before
    exact.execute("SELECT omop_emb_index()")
    assert found(exact) == set()
    exact.execute(INSERT, [1, 3])
    exact.execute("SELECT omop_emb_index()")
    assert {concept for concept, _ in found(exact)} == {1, 2, 3}


def test_listeners_are_notified_once_per_transaction_that_queues(indexed: psycopg.Connection, connect: Connect) -> None:
    listener = connect()
    listener.execute("LISTEN omop_emb")
    indexed.execute("UPDATE cdm.concept SET valid_end_date = '2030-01-01'")
    assert list(listener.notifies(timeout=0.1)) == []
    with indexed.transaction():
        indexed.execute(INSERT, [1, 3])
        indexed.execute(INSERT, [4, 6])
    notices = list(listener.notifies(timeout=5, stop_after=1)) + list(listener.notifies(timeout=0.1))
    assert [(notice.channel, notice.payload) for notice in notices] == [("omop_emb", "")]


@pytest.fixture
def loader(indexed: psycopg.Connection, connect: Connect) -> Iterator[psycopg.Connection]:
    """Give a connection of a role that may write the vocabulary and knows nothing of this package."""
    indexed.execute("CREATE ROLE vocabulary_loader LOGIN")
    try:
        indexed.execute("GRANT USAGE ON SCHEMA cdm TO vocabulary_loader")
        indexed.execute("GRANT ALL ON ALL TABLES IN SCHEMA cdm TO vocabulary_loader")
        with connect(user="vocabulary_loader") as connection:
            yield connection
    finally:
        indexed.execute("DROP OWNED BY vocabulary_loader")
        indexed.execute("DROP ROLE vocabulary_loader")


def test_a_writer_needs_no_right_on_the_package(indexed: psycopg.Connection, loader: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        loader.execute("SELECT * FROM omop_emb.queue")
    # Nor do names of its own that shadow the built-in ones get into what runs for it.
    loader.execute("CREATE TEMP TABLE queue (concept_ids int8multirange)")
    loader.execute("SET search_path = pg_temp, cdm")
    loader.execute(INSERT, [1, 3])
    loader.execute("UPDATE cdm.concept SET concept_name = 'x' WHERE concept_id = 378253")
    loader.execute("UPDATE cdm.concept SET domain_id = 'Moved' WHERE concept_id = 320128")
    loader.execute("DELETE FROM cdm.concept WHERE concept_id = 312327")
    loader.execute("INSERT INTO cdm.concept_synonym VALUES (4, 'x', 0)")
    loader.execute("UPDATE cdm.concept_synonym SET concept_synonym_name = 'y' WHERE concept_id = 1112807")
    loader.execute("DELETE FROM cdm.concept_synonym WHERE concept_id = 4237458")
    assert len(jobs(indexed)) == 6
    loader.execute("TRUNCATE cdm.concept, cdm.concept_synonym")
    assert jobs(indexed)[6:] == ["{(,)}"]
    assert loader.execute("TABLE pg_temp.queue").fetchall() == []


def test_copy(indexed: psycopg.Connection) -> None:
    columns = "concept_id, concept_name, domain_id, vocabulary_id, concept_class_id, concept_code"
    with indexed.cursor().copy(sql.SQL("COPY cdm.concept ({}) FROM STDIN").format(sql.SQL(columns))) as copy:
        for number in range(1, 2001):
            copy.write_row((number, f"copied {number}", "d", "v", "c", ""))
    with indexed.cursor().copy("COPY cdm.concept_synonym FROM STDIN") as copy:
        copy.write_row((7, "copied synonym", 0))
    assert jobs(indexed) == ["{[1,2001)}"]
    assert indexed.execute("SELECT embedded FROM omop_emb_index()").fetchone() == (2001,)


def test_upsert_and_merge_with_both_kinds_of_rows(indexed: psycopg.Connection) -> None:
    source = "(VALUES (1, 'new'), (378253, 'changed'), (320128, 'Essential hypertension')) n (id, name)"
    statements = [
        f"INSERT INTO cdm.concept SELECT id, name, 'd', 'v', 'c', 'S', '' FROM {source}"
        " ON CONFLICT (concept_id) DO UPDATE SET concept_name = excluded.concept_name",
        f"MERGE INTO cdm.concept c USING {source} ON c.concept_id = n.id"
        " WHEN MATCHED THEN UPDATE SET concept_name = n.name"
        " WHEN NOT MATCHED THEN INSERT VALUES (id, name, 'd', 'v', 'c', 'S', '')",
    ]
    for statement in statements:
        with indexed.transaction(force_rollback=True):
            indexed.execute(sql.SQL(statement))
            assert sorted(jobs(indexed)) == ["{[1,2)}", "{[378253,378254)}"]
            assert indexed.execute("SELECT embedded, removed FROM omop_emb_index()").fetchone() == (2, 1)


def test_rollback_leaves_no_job_and_takes_nothing_from_the_index(exact: psycopg.Connection) -> None:
    before = found(exact)
    with exact.transaction(force_rollback=True):
        exact.execute("DELETE FROM cdm.concept")
        exact.execute(INSERT, [1, 3])
        exact.execute("TRUNCATE cdm.concept_synonym")
        assert found(exact) == set()
    assert jobs(exact) == []
    assert found(exact) == before


def test_a_statement_that_fails_leaves_nothing(exact: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        exact.execute(INSERT, [378253, 378254])
    assert jobs(exact) == []


def test_two_loaders_do_not_block_each_other(indexed: psycopg.Connection, connect: Connect) -> None:
    first, second = connect(autocommit=False), connect(autocommit=False)
    for connection, start in ((first, 1), (second, 101)):
        connection.execute("SET lock_timeout = '1s'")
        connection.execute(INSERT, [start, start + 99])
    first.execute("UPDATE cdm.concept SET concept_name = 'a' WHERE concept_id IN (1, 378253)")
    second.execute("UPDATE cdm.concept SET concept_name = 'b' WHERE concept_id IN (101, 320128)")
    first.execute("DELETE FROM cdm.concept WHERE concept_id = 4237458")
    second.execute("DELETE FROM cdm.concept_synonym WHERE concept_id = 4329847")
    first.execute("INSERT INTO cdm.concept_synonym VALUES (4329847, 'x', 0)")
    first.commit()
    second.commit()
    indexed.execute("SELECT omop_emb_index()")
    ids = {concept for concept, _ in found(indexed)}
    assert ids >= set(range(1, 201))
    assert 4237458 not in ids


def test_a_loader_and_an_index_run_do_not_block_each_other(
    indexed: psycopg.Connection, connect: Connect, endpoint: Endpoint
) -> None:
    """While the endpoint is being asked, the vocabulary can be written; what was written then stays queued."""
    asked, answer = threading.Event(), threading.Event()

    def wait(_: object) -> None:
        asked.set()
        assert answer.wait(20)

    endpoint.respond = wait
    indexed.execute(INSERT, [1, 3])
    worker = connect()
    thread = threading.Thread(target=lambda: worker.execute("SELECT omop_emb_index()"))
    thread.start()
    try:
        assert asked.wait(10)
        indexed.execute("SET lock_timeout = '1s'")
        indexed.execute("SET statement_timeout = '2s'")
        indexed.execute(INSERT, [11, 13])
        indexed.execute("UPDATE cdm.concept SET concept_name = 'other name' WHERE concept_id = 378253")
    finally:
        answer.set()
        thread.join(30)
    assert jobs(indexed) == ["{[11,14)}", "{[378253,378254)}"]
    assert indexed.execute("SELECT embedded, removed FROM omop_emb_index()").fetchone() == (4, 1)
