"""omop_emb_search_batch: many texts in few requests, each answered as a search of its own would be."""

import math
import re
from typing import Any

import psycopg
import pytest
from psycopg import sql

from omop_emb.configuration import configure
from tests.conftest import Connect
from tests.endpoint import Answer, Endpoint
from tests.test_search_plans import plans

COLUMNS = (
    "rank, concept_id, concept_name, domain_id, vocabulary_id, concept_class_id, concept_code, standard_concept,"
    " similarity, matched_text, matched_kind, semantic_rank, lexical_rank"
)
FILTERS = (
    "",
    ", domains => '{Condition}'",
    ", vocabularies => '{RxNorm,ATC}', standard_only => true",
    ", concept_classes => '{Clinical Finding}', include_invalid => true",
    ", ancestor_concept_id => 4329847",
    ", domains => '{}'",
)


def batch(db: psycopg.Connection, queries: Any, arguments: str = "", columns: str = COLUMNS) -> list[Any]:
    return db.execute(
        f"SELECT query_no, query, {columns} FROM omop_emb_search_batch(%s::text[]{arguments})".encode(), [queries]
    ).fetchall()


def heard(db: psycopg.Connection) -> list[tuple[str | None, str | None]]:
    notices: list[tuple[str | None, str | None]] = []
    db.add_notice_handler(lambda notice: notices.append((notice.severity, notice.message_primary)))
    return notices


@pytest.mark.parametrize("mode", ["hybrid", "semantic"])
def test_it_answers_as_single_searches_do_in_the_order_of_the_queries(indexed: psycopg.Connection, mode: str) -> None:
    queries = ["heart atack", "I21", "fever", "Headache", "I21", "zzz", "headache ", "'", "blood pressure", "fever"]
    for arguments in FILTERS:
        for k in (1, 4, 100):
            given = f", mode => '{mode}'" + arguments
            expected = [
                (number, query, *row)
                for number, query in enumerate(queries, 1)
                for row in indexed.execute(
                    f"SELECT {COLUMNS} FROM omop_emb_search(%s, k => {k}{given})".encode(), [query]
                ).fetchall()
            ]
            assert batch(indexed, queries, f", k => {k}{given}") == expected
            assert bool(expected) == ("domains => '{}'" not in arguments)
    assert batch(indexed, queries) == batch(indexed, queries, ", k => 10, mode => 'hybrid'")


@pytest.mark.parametrize("mode", ["hybrid", "semantic"])
@pytest.mark.parametrize("arguments", FILTERS)
def test_parallel_workers_find_the_same(indexed: psycopg.Connection, mode: str, arguments: str) -> None:
    queries = [f"{text} {number}" for number in range(20) for text in ("heart attack", "aspirn", "'")]
    given = f", mode => '{mode}'" + arguments
    indexed.execute("SET max_parallel_workers_per_gather = 0")
    alone = batch(indexed, queries, given)
    indexed.execute("SET max_parallel_workers_per_gather = 2")
    assert batch(indexed, queries, given) == alone
    listed = "ARRAY[" + ",".join(sql.Literal(query).as_string(None) for query in queries) + "]"
    indexed.execute("LOAD 'auto_explain'; SET auto_explain.log_analyze = on")
    text = plans(indexed, f"SELECT * FROM omop_emb_search_batch({listed}{given})")
    assert "Parallel Append" in text
    assert int(re.findall(r"Workers Launched: (\d)", text)[-1]) > 0


def test_equal_texts_are_embedded_and_searched_for_once(
    indexed: psycopg.Connection, connect: Connect, endpoint: Endpoint
) -> None:
    queries = ["b", "a", "b", "A", "a", "b"] * 50
    session = connect()
    # Counts calls, but not what they cost.
    session.execute("SET track_functions = 'all'")
    found = batch(session, queries, ", k => 2")
    assert endpoint.texts == ["query: b", "query: a", "query: A"]
    assert [row[:3] for row in found] == [(n, q, r) for n, q in enumerate(queries, 1) for r in (1, 2)]
    session.execute("SELECT pg_stat_force_next_flush()")
    calls: dict[str, int] = dict(session.execute("SELECT funcname, calls FROM pg_stat_user_functions").fetchall())
    assert calls["hybrid_1"] == calls["nearest_1"] == calls["lexical_candidates"] == 3


def test_one_request_per_batch_size_texts(indexed: psycopg.Connection, connect: Connect, endpoint: Endpoint) -> None:
    indexed.execute("UPDATE omop_emb.config SET batch_size = 7")
    queries = [f"text {number}" for number in range(30)]
    batch(indexed, queries, ", k => 1")
    assert sorted(len(request["input"]) for request in endpoint.requests) == [2, 7, 7, 7, 7]
    assert sorted(endpoint.texts) == sorted("query: " + query for query in queries)
    batch(connect(), [*queries[:20], "new"], ", k => 1, mode => 'semantic'")
    # Two texts may share a place, and only the later one is remembered.
    row = indexed.execute("SELECT 31 - count(*) FROM omop_emb.query_vector").fetchone()
    assert row is not None
    again = endpoint.texts[30:]
    assert "query: new" in again
    assert len(again) <= 1 + row[0]


def test_ten_thousand_texts_and_one_that_is_poison(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    def reject(request: dict[str, Any]) -> Answer | None:
        return Answer(400, b'{"error": "no such text"}') if "query: poison" in request["input"] else None

    endpoint.respond = reject
    indexed.execute("UPDATE omop_emb.config SET batch_size = 1000")
    queries = [f"text {number}" for number in range(10_000)]
    queries[6789] = "poison"
    notices = heard(indexed)
    found = batch(indexed, queries, ", k => 1, mode => 'semantic'", "concept_id")
    assert [row[:2] for row in found] == [(n, q) for n, q in enumerate(queries, 1) if q != "poison"]
    assert [severity for severity, _ in notices] == ["WARNING"]
    assert "query 6790 of 10000 cannot be embedded: " in str(notices[0][1])
    assert "no such text" in str(notices[0][1])
    assert len(endpoint.requests) <= 10 + 2 * math.ceil(math.log2(1000))
    for number in (1, 6789, 6791, 10000):
        single = indexed.execute(
            "SELECT concept_id FROM omop_emb_search(%s, k => 1, mode => 'semantic')", [queries[number - 1]]
        ).fetchone()
        assert single is not None
        assert (number, queries[number - 1], single[0]) in found


def test_queries_without_a_text_have_no_row(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    notices = heard(indexed)
    found = batch(indexed, [None, "fever", "", " \t\n", None, "\u00a0", "rash", "x" * 32769], ", k => 1")
    assert [row[:2] for row in found] == [(2, "fever"), (7, "rash")]
    assert endpoint.texts == ["query: fever", "query: rash"]
    assert [str(message).split(":")[0] for _, message in notices] == [
        f"query {number} of 8 cannot be embedded" for number in (1, 3, 4, 5, 6, 8)
    ]
    assert batch(indexed, [None, ""]) == []


@pytest.mark.parametrize("queries", [None, []])
def test_no_queries_are_no_rows_and_no_request(
    indexed: psycopg.Connection, endpoint: Endpoint, queries: list[str] | None
) -> None:
    notices = heard(indexed)
    assert batch(indexed, queries) == []
    assert endpoint.requests == []
    assert notices == []


@pytest.mark.parametrize("queries", ["{{a,b},{c,d}}", "[0:1]={a,b}", "[5:6]={a,b}", "{{a}}"])
@pytest.mark.parametrize("function", ["omop_emb_search_batch", "omop_emb_map"])
def test_an_array_of_another_shape_is_refused(
    indexed: psycopg.Connection, endpoint: Endpoint, function: str, queries: str
) -> None:
    with pytest.raises(psycopg.Error, match="the queries are an array of") as raised:
        indexed.execute(f"SELECT * FROM {function}(%s::text[])".encode(), [queries])
    assert raised.value.diag.sqlstate == "OE005"
    assert "flat array" in (raised.value.diag.message_hint or "")
    assert endpoint.requests == []


def test_an_empty_index_is_said_once(db: psycopg.Connection, endpoint: Endpoint) -> None:
    configure(db, "empty", {"api_base": endpoint.url, "model": "recorded", "query_prefix": "query: "})
    for mode in ("hybrid", "semantic"):
        notices = heard(db)
        assert batch(db, ["a", "b"], f", mode => '{mode}'") == []
        assert ("WARNING", "nothing is indexed in configuration 'empty'") in notices


def test_it_fills_a_table(indexed: psycopg.Connection) -> None:
    indexed.execute(
        "CREATE TEMPORARY TABLE mapped AS SELECT b.* FROM omop_emb_search_batch("
        "ARRAY(SELECT concept_name::text FROM cdm.concept ORDER BY concept_id), k => 1) b"
    )
    names = indexed.execute("SELECT concept_name FROM cdm.concept ORDER BY concept_id").fetchall()
    written = indexed.execute("SELECT query, concept_name FROM mapped ORDER BY query_no").fetchall()
    assert [row[0] for row in written] == [name for (name,) in names]
    # The concept of that name is not valid.
    assert [row for row in written if row[0] != row[1]] == [("Headache, unspecified", "Headache")]
