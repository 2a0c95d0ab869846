"""Arguments that make no sense are errors that say so; odd ones that make sense are answered."""

import itertools
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from omop_emb.configuration import configure
from omop_emb.demo.cluster import Cluster
from tests.conftest import Connect, new_database
from tests.endpoint import Answer, Endpoint, running_endpoint

SEARCH = "SELECT concept_id FROM omop_emb_search(%s)"
ODD_QUERIES = [
    "x" * 32768,
    "'; DROP TABLE cdm.concept; --",
    "\"quoted\" 'twice' $$ $python$ \\",
    "100% of %s %(name)s %%",
    "{} {0} {{ cdm }} {query}",
    "chest\x01pain\x7f\x1b[31m\r\n\t\v",
    "💔🫀 👩🏽‍⚕️ e\u0301 \u202e \ufffe \U0010ffff",
    "?",
    "NULL",
    "\u200b",
]


@pytest.fixture(scope="module")
def shared_endpoint() -> Iterator[Endpoint]:
    with running_endpoint() as running:
        yield running


@pytest.fixture(scope="module")
def db(cluster: Cluster, installed_template: str, shared_endpoint: Endpoint) -> Iterator[psycopg.Connection]:
    """Give an indexed database that these tests share: a refused argument changes nothing."""
    for dsn in new_database(cluster, installed_template):
        with psycopg.connect(dsn, autocommit=True) as connection:
            settings = {"api_base": shared_endpoint.url, "model": "recorded", "dimensions": 8, "max_retries": 0}
            configure(connection, "test", {**settings, "document_prefix": "doc: ", "query_prefix": "query: "})
            connection.execute("SELECT * FROM omop_emb_index()")
            yield connection


@pytest.fixture(autouse=True)
def _as_before(db: psycopg.Connection, shared_endpoint: Endpoint) -> Iterator[None]:
    """Check that the session works after each test and that nothing was stored or lost."""
    state = (
        "SELECT s.*, (SELECT count(*) FROM omop_emb.term), (SELECT count(*) FROM omop_emb.queue) FROM omop_emb.status s"
    )
    before = db.execute(state).fetchall()
    shared_endpoint.requests.clear()
    yield
    shared_endpoint.respond = lambda _: None
    assert len(db.execute("SELECT * FROM omop_emb_search('fever')").fetchall()) == 10
    assert db.execute(state).fetchall() == before


def refused(
    db: psycopg.Connection, statement: str, arguments: list[Any], message: str, sqlstate: str = "OE005"
) -> None:
    """Check the error, alone, under a savepoint and in an exception block: the session goes on after each."""
    with pytest.raises(psycopg.Error, match=message) as raised:
        db.execute(statement, arguments)
    assert raised.value.diag.sqlstate == sqlstate
    assert raised.value.diag.message_hint
    with db.transaction():
        db.execute("CREATE TEMPORARY TABLE kept ON COMMIT DROP AS SELECT 1")
        with pytest.raises(psycopg.Error, match=message), db.transaction():
            db.execute(statement, arguments)
        assert db.execute("TABLE kept").fetchone() == (1,)
        quoted = psycopg.ClientCursor(db).mogrify(statement, arguments)
        db.execute(
            f"DO $block$ DECLARE r record; BEGIN FOR r IN {quoted} LOOP END LOOP;"
            f" RAISE 'no error'; EXCEPTION WHEN SQLSTATE '{sqlstate}' THEN INSERT INTO kept VALUES (2); END $block$"
        )
        assert db.execute("SELECT count(*) FROM kept").fetchone() == (2,)


@pytest.mark.parametrize("query", [None, "", " ", "\t\r\n \v\f", "\u00a0\u3000", "\x1c"])
def test_a_query_without_a_visible_character(
    db: psycopg.Connection, shared_endpoint: Endpoint, query: str | None
) -> None:
    for statement in (SEARCH, "SELECT omop_emb_embed_query(%s)", "SELECT omop_emb_embed_document(%s)"):
        refused(db, statement, [query], "the text to embed is empty")
    assert shared_endpoint.requests == []


def test_a_query_of_a_megabyte(db: psycopg.Connection, shared_endpoint: Endpoint) -> None:
    for text in ("x" * 1048576, "🫀" * 1048576, "x" * 32769):
        for statement in (SEARCH, "SELECT omop_emb_embed_query(%s)", "SELECT omop_emb_embed_document(%s)"):
            with pytest.raises(psycopg.Error, match=f"has {len(text)} characters, the limit is 32768") as raised:
                db.execute(statement, [text])
            assert raised.value.diag.sqlstate == "OE005"
            assert len(str(raised.value)) < 2000
    assert shared_endpoint.requests == []


def test_a_nul_never_arrives(db: psycopg.Connection, shared_endpoint: Endpoint) -> None:
    with pytest.raises(psycopg.DataError, match="NUL"):
        db.execute(SEARCH, ["chest\x00pain"])
    with pytest.raises(psycopg.errors.CharacterNotInRepertoire):
        db.execute(r"SELECT * FROM omop_emb_search(E'chest\000pain')")
    with pytest.raises(psycopg.errors.ProgramLimitExceeded):
        db.execute("SELECT * FROM omop_emb_search('chest' || chr(0) || 'pain')")
    assert shared_endpoint.requests == []


def test_odd_queries_arrive_as_they_are(db: psycopg.Connection, shared_endpoint: Endpoint) -> None:
    for query in ODD_QUERIES:
        assert len(db.execute(SEARCH, [query]).fetchall()) == 10
        db.execute("SELECT omop_emb_embed_document(%s)", [query])
    sent = [text for query in ODD_QUERIES for text in ("query: " + query, "doc: " + query)]
    assert shared_endpoint.texts == sent


FILTERS = ("domains", "vocabularies", "concept_classes")
SEARCHES = (
    "omop_emb_search('fever', {})",
    "omop_emb_search('fever', mode => 'semantic', {})",
    "omop_emb_search_batch('{{fever,rash}}', {})",
    "omop_emb_search_batch('{{fever}}', mode => 'semantic', {})",
    "omop_emb_map('{{fever}}', {})",
    "omop_emb_similar(4329847, {})",
)


@pytest.mark.parametrize("call", SEARCHES)
def test_a_filter_of_two_dimensions(db: psycopg.Connection, shared_endpoint: Endpoint, call: str) -> None:
    for name in FILTERS:
        statement = f"SELECT * FROM {call.format(name + ' => CAST(%s AS text[])')}"
        refused(db, statement, ["{{Drug},{Condition}}"], "a filter is an array of 2 dimensions")
    assert shared_endpoint.requests == []


@pytest.mark.parametrize("call", SEARCHES)
@pytest.mark.parametrize("k", [0, -1, -2147483648, None])
def test_k_below_one(db: psycopg.Connection, shared_endpoint: Endpoint, k: int | None, call: str) -> None:
    message = f"k is {'NULL' if k is None else k}, it must be at least 1"
    refused(db, f"SELECT * FROM {call.format('k => CAST(%s AS int)')}", [k], message)
    assert shared_endpoint.requests == []


@pytest.mark.parametrize("call", SEARCHES)
def test_k_beyond_what_there_is(db: psycopg.Connection, call: str) -> None:
    there = 9 if "similar" in call else 10
    for k in (1000, 1001, 10_000_000, 1_073_741_824, 2147483647):
        found = db.execute(f"SELECT concept_id FROM {call.format('k => %s')}", [k]).fetchall()
        assert len(found) == (2 * there if "rash" in call else there)
        assert len(set(found)) == there


@pytest.mark.parametrize("call", SEARCHES)
@pytest.mark.parametrize(
    "number", ["'NaN'::float8", "'NaN'::float4", "'NaN'::numeric", "'Infinity'::float8", "2147483648", "1e300", "'NaN'"]
)
def test_what_is_no_integer(db: psycopg.Connection, shared_endpoint: Endpoint, call: str, number: str) -> None:
    for argument in ("k", "ancestor_concept_id"):
        for cast in ("{}", "CAST({} AS int)"):
            with pytest.raises((psycopg.DataError, psycopg.NotSupportedError, psycopg.errors.UndefinedFunction)):
                db.execute(f"SELECT * FROM {call.format(f'{argument} => {cast.format(number)}')}".encode())
    assert shared_endpoint.requests == []


@pytest.mark.parametrize("call", SEARCHES)
def test_a_filter_with_a_null_inside(db: psycopg.Connection, shared_endpoint: Endpoint, call: str) -> None:
    for name in FILTERS:
        for values in ([None], ["Drug", None], [None, "Condition", "Drug"]):
            statement = f"SELECT * FROM {call.format(f'{name} => %s::text[]')}"
            refused(db, statement, [values], "a filter holds NULL among its values")
    assert shared_endpoint.requests == []


@pytest.mark.parametrize("call", [*SEARCHES, "omop_emb_index({})"])
def test_an_unknown_configuration(db: psycopg.Connection, call: str) -> None:
    for name in ("nomic", "", "TEST", "test ", "x'; --"):
        quoted = name.replace("'", "''")
        refused(db, f"SELECT * FROM {call.format('config => %s')}", [name], f"configuration '{quoted}'", "OE002")


def test_no_configuration(connect: Connect) -> None:
    bare = connect()
    functions = (
        "omop_emb_search('fever')",
        "omop_emb_search_batch('{fever}')",
        "omop_emb_map('{fever}')",
        "omop_emb_similar(4329847)",
        "omop_emb_index()",
        "omop_emb_embed_query('fever')",
        "omop_emb_embed_document('fever')",
    )
    for function in functions:
        refused(bare, f"SELECT * FROM {function}", [], "there is no embedding configuration", "OE002")
    bare.execute("INSERT INTO omop_emb.config (name, api_base, model, dimensions) VALUES ('a', 'http://x/v1', 'm', 8)")
    bare.execute("UPDATE omop_emb.config SET is_active = false")
    for function in functions:
        refused(bare, f"SELECT * FROM {function}", [], "no embedding configuration is active", "OE002")


@pytest.mark.parametrize("mode", ["", "SEMANTIC", "lexical", "'", None])
def test_an_unknown_mode(db: psycopg.Connection, mode: str | None) -> None:
    shown = "NULL" if mode is None else "'" + mode.replace("'", "''") + "'"
    for call in ("omop_emb_search('fever', ", "omop_emb_search_batch('{fever}', ", "omop_emb_map('{fever}', "):
        refused(db, f"SELECT * FROM {call}mode => %s)", [mode], f"there is no search mode {shown}")


@pytest.mark.parametrize("values", [[], ["condition"], ["No such"], ["'"], ["Condition "], [""]], ids=str)
def test_a_filter_that_nothing_passes(db: psycopg.Connection, values: list[str | None]) -> None:
    for name, call in itertools.product(FILTERS, SEARCHES):
        found = db.execute(f"SELECT * FROM {call.format(f'{name} => %s::text[]')}", [values]).fetchall()
        # A mapping has a row per query.
        assert [row[2:] for row in found] == ([(None,) * 15] if "map" in call else [])


def test_an_unknown_value_among_known_ones_changes_nothing(db: psycopg.Connection) -> None:
    query = "SELECT * FROM omop_emb_search('fever', domains => %s)"
    known = db.execute(query, [["Drug"]]).fetchall()
    assert len(known) == 3
    assert db.execute(query, [["Drug", "No such", "Drug"]]).fetchall() == known


def test_null_for_a_flag_is_its_default(db: psycopg.Connection) -> None:
    plain = db.execute("SELECT * FROM omop_emb_search('fever')").fetchall()
    assert (
        plain
        == db.execute(
            "SELECT * FROM omop_emb_search('fever', standard_only => NULL, include_invalid => NULL)"
        ).fetchall()
    )


def test_an_unknown_ancestor(db: psycopg.Connection) -> None:
    query = "SELECT concept_id FROM omop_emb_search('fever', ancestor_concept_id => %s::int)"
    for unknown in (0, -1, 999, 2147483647):
        assert db.execute(query, [unknown]).fetchall() == []
    assert sorted(db.execute(query, [4329847]).fetchall()) == [(312327,), (4329847,)]
    assert len(db.execute(query, [None]).fetchall()) == 10
    with pytest.raises(psycopg.errors.NumericValueOutOfRange):
        db.execute(query, [3_000_000_000])


def test_a_concept_that_is_not_indexed(db: psycopg.Connection) -> None:
    for concept_id in (None, 0, -1, 45571652, 2147483647):
        shown = "NULL" if concept_id is None else concept_id
        refused(db, "SELECT * FROM omop_emb_similar(%s::int)", [concept_id], f"concept {shown} is not indexed")


def test_index_arguments(db: psycopg.Connection, shared_endpoint: Endpoint) -> None:
    for most in (0, -1):
        refused(db, "SELECT * FROM omop_emb_index(max_concepts => %s)", [most], f"max_concepts is {most}")
    for ids in ([], [None], [999], [0, -1, 2147483647, -2147483648], [4329847, 4329847, None]):
        done = db.execute("SELECT * FROM omop_emb_index(concept_ids => %s::int[])", [ids]).fetchone()
        assert done == (0, 0, 0, 0, 0)
    with pytest.raises(psycopg.errors.NumericValueOutOfRange):
        db.execute("SELECT * FROM omop_emb_index(concept_ids => %s::int[])", [[3_000_000_000]])
    assert shared_endpoint.requests == []


def test_an_endpoint_that_fails(db: psycopg.Connection, shared_endpoint: Endpoint) -> None:
    calls = (
        "omop_emb_search('itch')",
        "omop_emb_search('itch', mode => 'semantic')",
        "omop_emb_search_batch('{itch}')",
        "omop_emb_map('{itch}')",
        "omop_emb_embed_query('itch')",
        "omop_emb_embed_document('itch')",
    )
    for call in calls:
        shared_endpoint.respond = lambda _: Answer(hang_up=True)
        refused(db, f"SELECT * FROM {call}", [], "could not be reached", "OE003")
        shared_endpoint.respond = lambda _: Answer(500, b"<html>Oops</html>")
        refused(db, f"SELECT * FROM {call}", [], "HTTP 500: Oops", "OE003")
        shared_endpoint.respond = lambda _: Answer(200, b"<html>Welcome</html>")
        refused(db, f"SELECT * FROM {call}", [], "not a list of embeddings", "OE004")
