"""Vectors of queries are remembered by session and in a bounded table, and never at the price of a search."""

import os
import signal
import subprocess
import time
from typing import Any

import psycopg
import pytest
from psycopg import IsolationLevel

from omop_emb.configuration import configure
from omop_emb.demo.binaries import find_binaries
from omop_emb.demo.cluster import Cluster
from omop_emb.install import migrate
from tests.conftest import Connect
from tests.endpoint import Answer, Endpoint, vector_for

SEARCH = "SELECT * FROM omop_emb_search(%s, 3)"
REMEMBERED = "SELECT count(*)::int FROM omop_emb.query_vector"
MANY = (
    "SELECT e.query_no, e.embedding::real[], e.error"
    " FROM omop_emb.embed_queries(omop_emb.config_for(NULL), %s::text[]) e"
)


def remembered(db: psycopg.Connection) -> int:
    row = db.execute(REMEMBERED).fetchone()
    assert row is not None
    return int(row[0])


def expected(text: str) -> Any:
    return pytest.approx(vector_for("query: " + text, 8), rel=1e-6)


def test_another_session_makes_no_request(indexed: psycopg.Connection, connect: Connect, endpoint: Endpoint) -> None:
    first = connect().execute(SEARCH, ["fever"]).fetchall()
    assert endpoint.texts == ["query: fever"]
    again = connect()
    assert again.execute(SEARCH, ["fever"]).fetchall() == first
    assert again.execute("SELECT omop_emb_embed_query('fever')::real[]").fetchone() == (expected("fever"),)
    assert again.execute(MANY, [["fever"]]).fetchall() == [(1, expected("fever"), None)]
    assert endpoint.texts == ["query: fever"]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE omop_emb.config SET query_prefix = 'q'",
        """UPDATE omop_emb.config SET query_params = '{"input_type": "query"}'""",
        "UPDATE omop_emb.config SET api_base = api_base || '/'",
        "SELECT omop_emb.discard('test')",
    ],
)
def test_what_decides_the_vector_makes_it_ask_again(
    indexed: psycopg.Connection, connect: Connect, endpoint: Endpoint, change: str
) -> None:
    """In the session that knew it too: the model behind a name may have changed when vectors are discarded."""
    indexed.execute("SELECT omop_emb_embed_query('fever')")
    indexed.execute(change.encode())
    for session in (indexed, connect()):
        session.execute("SELECT omop_emb_embed_query('fever')")
    assert len(endpoint.requests) == 2


def test_the_key_tells_prefix_and_text_apart(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    settings = [("ab", "c"), ("a", "bc"), ("", "abc"), ('"', "abc"), ("a,", "bc"), ("a", ",bc")]
    for prefix, text in settings:
        indexed.execute("UPDATE omop_emb.config SET query_prefix = %s", [prefix])
        indexed.execute("SELECT omop_emb_embed_query(%s)", [text])
    assert endpoint.texts == [prefix + text for prefix, text in settings]


def test_the_table_is_bounded_and_a_new_query_takes_the_place_of_an_old(
    indexed: psycopg.Connection, connect: Connect, endpoint: Endpoint
) -> None:
    slots = indexed.execute(
        "SELECT min(s), max(s) FROM (SELECT omop_emb.query_vector_slot(sha256(int4send(i))) s"
        " FROM generate_series(1, 150000) i) t"
    ).fetchone()
    assert slots == (0, 9999)
    indexed.execute(
        "CREATE OR REPLACE FUNCTION omop_emb.query_vector_slot(key bytea) RETURNS int LANGUAGE sql IMMUTABLE"
        " RETURN get_byte(key, 0) % 3"
    )
    texts = [f"text {number}" for number in range(12)]
    for text in texts:
        indexed.execute("SELECT omop_emb_embed_query(%s)", [text])
    assert 1 <= remembered(indexed) <= 3
    answers = connect().execute(MANY, [texts]).fetchall()
    assert answers == [(number, expected(text), None) for number, text in enumerate(texts, 1)]
    assert 1 <= remembered(indexed) <= 3
    assert len(endpoint.texts) >= 12 + 9


def test_no_readable_text_is_in_the_database(indexed: psycopg.Connection, dsn: str) -> None:
    marker = "unmistakable words 5512"
    indexed.execute(SEARCH, [marker])
    indexed.execute(MANY, [[marker, marker + " again"]])
    assert remembered(indexed) == 2
    program = find_binaries()[0] / "pg_dump"
    dump = subprocess.run([str(program), "--dbname", dsn], check=True, capture_output=True, timeout=60).stdout
    assert b"COPY omop_emb.query_vector" in dump
    assert b"unmistakable" not in dump
    assert b"unmistakable".hex().encode() not in dump


def test_nobody_waits_for_a_session_that_holds_its_transaction_open(
    indexed: psycopg.Connection, connect: Connect, endpoint: Endpoint
) -> None:
    first, second = connect(autocommit=False), connect()
    first.execute(SEARCH, ["fever"])
    second.execute("SET statement_timeout = '5s'")
    assert len(second.execute(SEARCH, ["fever"]).fetchall()) == 3
    assert len(second.execute(MANY, [["fever", "rash"]]).fetchall()) == 2
    assert endpoint.texts.count("query: fever") == 3
    first.commit()
    assert remembered(indexed) == 2


def test_a_transaction_with_many_queries_holds_few_locks(indexed: psycopg.Connection, connect: Connect) -> None:
    session = connect(autocommit=False)
    texts = [f"text {number}" for number in range(10_000)]
    texts[5_000] = " "
    answers = session.execute(MANY, [texts]).fetchall()
    assert [row[0] for row in answers if row[1] is None] == [5_001]
    held = "SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    assert session.execute(held).fetchone() == (256,)
    session.commit()
    assert 6_000 < remembered(indexed) < 7_000


def test_a_read_only_transaction_writes_nothing(
    indexed: psycopg.Connection, connect: Connect, endpoint: Endpoint
) -> None:
    for level in (IsolationLevel.READ_COMMITTED, IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE):
        session = connect(autocommit=False)
        session.read_only = True
        session.isolation_level = level
        for _ in range(2):
            assert len(session.execute(SEARCH, [f"fever {level}"]).fetchall()) == 3
        assert len(session.execute(MANY, [["rash", f"fever {level}"]]).fetchall()) == 2
        assert session.execute("SELECT pg_current_xact_id_if_assigned()").fetchone() == (None,)
        session.rollback()
    assert remembered(indexed) == 0


@pytest.mark.parametrize("level", [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE])
def test_an_old_snapshot_fails_no_search(
    indexed: psycopg.Connection, connect: Connect, endpoint: Endpoint, level: IsolationLevel
) -> None:
    session = connect(autocommit=False)
    session.isolation_level = level
    session.execute("SELECT 1 FROM omop_emb.status")
    connect().execute(SEARCH, ["fever"])
    assert len(session.execute(SEARCH, ["fever"]).fetchall()) == 3
    assert len(session.execute(MANY, [["fever", "rash"]]).fetchall()) == 2
    session.commit()
    assert remembered(indexed) == 1


def test_one_statement_may_search_for_the_same_text_often(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    found = indexed.execute(
        "SELECT count(*)::int FROM generate_series(1, 20) i, omop_emb_search('text ' || i % 2, 3) s"
    ).fetchone()
    assert found == (60,)
    assert len(endpoint.texts) == 2
    assert remembered(indexed) == 2


def test_a_rolled_back_search_leaves_nothing_behind(indexed: psycopg.Connection, connect: Connect) -> None:
    session = connect(autocommit=False)
    session.execute("SAVEPOINT s")
    session.execute(SEARCH, ["fever"])
    session.execute("ROLLBACK TO s")
    connect().execute(SEARCH, ["fever"])
    session.execute(SEARCH, ["fever"])
    session.commit()
    assert remembered(indexed) == 1


def test_many_queries(indexed: psycopg.Connection, connect: Connect, endpoint: Endpoint) -> None:
    indexed.execute("UPDATE omop_emb.config SET batch_size = 3")
    connect().execute("SELECT omop_emb_embed_query('known')")
    endpoint.requests.clear()
    poison = Answer(status=400, body=b'{"error": "cannot embed poison"}')
    endpoint.respond = lambda request: poison if any("poison" in text for text in request["input"]) else None
    texts = ["b", "a", None, "b", "known", "", "poison", "x" * 40_000, "B", "a", "\t", "c", "d", "poison"]
    answers = indexed.execute(MANY, [texts]).fetchall()
    assert [row[0] for row in answers] == list(range(1, 15))
    for (_, vector, error), text in zip(answers, texts, strict=True):
        if text is None or text.strip() in ("", "poison") or len(text) > 9:
            assert vector is None
            assert isinstance(error, str)
        else:
            assert (vector, error) == (expected(text), None)
    assert "HTTP 400" in answers[6][2]
    assert "poison" not in answers[6][2]
    assert answers[6] == (7, *answers[13][1:])
    assert "40000 characters" in answers[7][2]
    assert max(len(request["input"]) for request in endpoint.requests) == 3
    sent = [text for text in endpoint.texts if text != "query: poison"]
    assert "query: known" not in sent
    assert {f"query: {text}" for text in "abcdB"} <= set(sent)
    endpoint.requests.clear()
    assert connect().execute(MANY, [["d", "c", "B", "b", "a", "known"]]).fetchall()[0] == (1, expected("d"), None)
    assert endpoint.requests == []
    assert indexed.execute(MANY, [[]]).fetchall() == indexed.execute(MANY, [None]).fetchall() == []


def test_many_queries_fail_together_when_the_endpoint_fails(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    indexed.execute("UPDATE omop_emb.config SET max_retries = 0")
    for answer, sqlstate in ((Answer(status=500), "OE003"), (Answer(body=b"nonsense"), "OE004")):
        endpoint.respond = lambda _, answer=answer: answer  # type: ignore[misc]
        with pytest.raises(psycopg.Error) as raised:
            indexed.execute(MANY, [["fever", "rash"]])
        assert raised.value.sqlstate == sqlstate
        assert raised.value.diag.message_hint
    assert remembered(indexed) == 0


def test_poison_among_ten_thousand(indexed: psycopg.Connection, endpoint: Endpoint) -> None:
    poison = Answer(status=400, body=b'{"error": "no"}')
    endpoint.respond = lambda request: poison if "query: text 7777" in request["input"] else None
    answers = indexed.execute(MANY, [[f"text {number}" for number in range(10_000)]]).fetchall()
    assert [row[0] for row in answers if row[1] is None] == [7_778]
    assert answers[9_999][1] == expected("text 9999")
    assert len(endpoint.requests) < 10_000 / 64 + 20
    assert all(text.startswith("query: ") or text == "diabetes" for text in endpoint.texts)


def test_the_table_is_empty_after_a_crash_and_fills_again(own_cluster: Cluster, endpoint: Endpoint) -> None:
    dsn = own_cluster.dsn_for("first")
    migrate(dsn)
    with psycopg.connect(dsn, autocommit=True) as db:
        configure(db, "test", {"api_base": endpoint.url, "model": "recorded"})
        db.execute("SELECT * FROM omop_emb_index()")
        before = db.execute(SEARCH, ["fever"]).fetchall()
        assert remembered(db) == 1
        # The test's server commits asynchronously.
        db.execute("CHECKPOINT")
        # Whatever kills one backend makes the server recover as from a crash.
        os.kill(db.info.backend_pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while True:
        try:
            with psycopg.connect(dsn, autocommit=True) as after:
                if remembered(after) == 0:
                    assert after.execute(SEARCH, ["fever"]).fetchall() == before
                    assert remembered(after) == 1
                    return
        except psycopg.OperationalError:
            # Not yet down, or not yet up again.
            time.sleep(0.05)
        assert time.monotonic() < deadline
