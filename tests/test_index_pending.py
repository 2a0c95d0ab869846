"""CALL omop_emb_index_pending(): a transaction per batch, the same queue as workers."""

import threading
import time

import psycopg
import pytest

from omop_emb.indexing import index
from tests.conftest import Connect
from tests.endpoint import Answer, Endpoint
from tests.test_index import MANY, configured, index_valid, status

__all__ = ["configured"]


def call(connection: psycopg.Connection, config: str | None = None) -> tuple[int, int, int]:
    """Return embedded, failed and remaining."""
    row = connection.execute("CALL omop_emb_index_pending(%s)", [config]).fetchone()
    assert row is not None
    return (int(row[0]), int(row[1]), int(row[2]))


def test_everything_is_indexed_and_the_second_time_nothing(configured: psycopg.Connection, endpoint: Endpoint) -> None:
    assert call(configured) == (16, 0, 0)
    assert status(configured) == (10, 10, 0, 0, 0, True, True)
    assert index_valid(configured) == [(True, True)]
    endpoint.requests.clear()
    assert call(configured) == (0, 0, 0)
    assert endpoint.requests == []
    assert configured.execute("SELECT * FROM omop_emb.job").fetchall() == []


def test_each_batch_is_committed_and_no_lock_is_held_while_the_model_works(
    configured: psycopg.Connection, connect: Connect, endpoint: Endpoint
) -> None:
    configured.execute("UPDATE omop_emb.config SET batch_size = 4")
    other = connect()
    seen: list[tuple[int, int]] = []

    def look(_: object) -> None:
        stored = other.execute("SELECT count(*) FROM omop_emb.embedding_1").fetchone() or (0,)
        writing = other.execute(
            "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
            " WHERE a.query LIKE 'CALL %' AND (l.locktype = 'transactionid' OR l.mode LIKE 'Row%Exclusive%')"
        ).fetchone() or (0,)
        seen.append((stored[0], writing[0]))

    endpoint.respond = look
    assert call(configured) == (16, 0, 0)
    assert seen == [(0, 0), (4, 0), (8, 0), (12, 0)]


def test_an_endpoint_that_dies_is_an_error_and_what_was_done_is_kept(
    configured: psycopg.Connection, endpoint: Endpoint
) -> None:
    configured.execute("UPDATE omop_emb.config SET batch_size = 4, max_retries = 0")
    endpoint.respond = lambda _: Answer(status=500) if len(endpoint.requests) > 2 else None
    with pytest.raises(psycopg.Error) as raised:
        call(configured)
    assert raised.value.sqlstate == "OE003"
    assert raised.value.diag.message_hint
    assert status(configured)[2] > 0
    assert configured.execute("SELECT count(*) FROM omop_emb.job WHERE leased_until IS NOT NULL").fetchone() == (0,)
    endpoint.respond = lambda _: None
    endpoint.requests.clear()
    assert call(configured) == (8, 0, 0)
    assert len(endpoint.texts) == 8


def test_calls_and_index_runs_share_the_work(
    configured: psycopg.Connection, connect: Connect, endpoint: Endpoint
) -> None:
    configured.execute(MANY, [300])
    configured.execute("UPDATE omop_emb.config SET batch_size = 16")

    def slowly(_: object) -> None:
        time.sleep(0.02)

    endpoint.respond = slowly
    embedded: list[int] = []
    work = [
        lambda: embedded.append(call(connect())[0]),
        lambda: embedded.append(call(connect())[0]),
        lambda: embedded.append(index(connect()).embedded),
    ]
    threads = [threading.Thread(target=one) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(embedded) == 3
    assert sum(embedded) == len(endpoint.texts) == len(set(endpoint.texts)) == 316
    assert sum(count > 0 for count in embedded) >= 2
    assert status(configured) == (310, 310, 0, 0, 0, True, True)


def test_who_may_call_it_and_where(configured: psycopg.Connection, connect: Connect) -> None:
    with pytest.raises(psycopg.errors.InvalidTransactionTermination), configured.transaction():
        call(configured)
    with pytest.raises(psycopg.Error, match="no embedding configuration 'none'"):
        call(configured, "none")
    try:
        configured.execute("CREATE ROLE caller LOGIN IN ROLE omop_emb_admin")
        configured.execute("CREATE ROLE stranger LOGIN IN ROLE omop_emb_reader")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            call(connect(user="stranger"))
        assert call(connect(user="caller")) == (16, 0, 0)
    finally:
        configured.execute("DROP ROLE caller, stranger")
