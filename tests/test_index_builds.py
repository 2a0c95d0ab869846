"""HNSW indexes are built beside searches and workers, and a build that does not end well leaves nothing."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from omop_emb.indexing import index
from tests.conftest import Connect
from tests.endpoint import Endpoint
from tests.test_index import MANY, configured, index_valid, status

__all__ = ["configured"]

INDEXES = """
    SELECT c.relname, i.indisvalid
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
    WHERE a.amname = 'hnsw' ORDER BY 1"""
BUILDING = "SELECT phase FROM pg_stat_progress_create_index WHERE command = 'CREATE INDEX CONCURRENTLY'"


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@contextmanager
def old_snapshot(connection: psycopg.Connection) -> Iterator[None]:
    """Keep a transaction open that a concurrent build has to wait for."""
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    with connection.transaction():
        connection.execute("SELECT")
        yield


@contextmanager
def waiting_build(dsn: str, connection: psycopg.Connection) -> Iterator[subprocess.Popen[str]]:
    """Run ``index`` up to the concurrent build, which waits."""
    command = [sys.executable, "-m", "omop_emb.cli", "--dsn", dsn, "index"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: process.poll() is not None or connection.execute(BUILDING).fetchone())
        assert process.poll() is None
        yield process
        process.kill()


def test_searches_and_workers_go_on_during_a_build(
    configured: psycopg.Connection, connect: Connect, dsn: str, endpoint: Endpoint
) -> None:
    other = connect()
    with old_snapshot(connect()), waiting_build(dsn, other) as process:
        other.execute("SET lock_timeout = '1s'")
        assert len(other.execute("SELECT FROM omop_emb_search('x', 5)").fetchall()) == 5
        other.execute("UPDATE cdm.concept SET concept_name = 'during the build' WHERE concept_id = 378253")
        assert other.execute("SELECT embedded FROM omop_emb_index(ARRAY[378253])").fetchone() == (1,)
        # Somebody else's run leaves the build to the first.
        assert index(connect()).remaining == 0
        assert process.poll() is None
    index(connect())
    assert other.execute(INDEXES).fetchall() == [("embedding_1_hnsw", True)]
    assert other.execute("SELECT concept_name FROM omop_emb_search('during the build', 1)").fetchone()
    assert status(other)[2:] == (0, 0, 0, True, True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_build_leaves_no_invalid_index(
    configured: psycopg.Connection, connect: Connect, dsn: str, number: signal.Signals
) -> None:
    other = connect()
    with old_snapshot(connect()), waiting_build(dsn, other) as process:
        process.send_signal(number)
        process.wait(20)
        # The server notices a dead client after a while.
        until(lambda: not other.execute(BUILDING).fetchone())
        if number is not signal.SIGKILL:
            assert other.execute(INDEXES).fetchall() == []
    index(connect())
    assert other.execute(INDEXES).fetchall() == [("embedding_1_hnsw", True)]


def test_a_rebuild_waits_for_long_searches_without_holding_up_others(
    configured: psycopg.Connection, connect: Connect
) -> None:
    index(configured)
    configured.execute("DROP INDEX omop_emb.embedding_1_hnsw")
    configured.execute("CREATE INDEX embedding_1_hnsw ON omop_emb.embedding_1 USING hash (text_hash)")
    configured.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'omop_emb.embedding_1_hnsw'::regclass"
    )
    reader = connect()
    with reader.transaction():
        reader.execute("SELECT * FROM omop_emb_search('x')")
        runner = connect()
        with subprocess.Popen(
            [sys.executable, "-m", "omop_emb.cli", "--dsn", runner.info.dsn, "index"], stderr=subprocess.PIPE
        ) as process:
            until(lambda: configured.execute("SELECT to_regclass('omop_emb.embedding_1_new')").fetchone() != (None,))
            for _ in range(20):
                configured.execute("SET statement_timeout = '1s'")
                assert len(configured.execute("SELECT FROM omop_emb_search('y', 5)").fetchall()) == 5
            assert process.poll() is None
            reader.execute("COMMIT")
            assert process.wait(20) == 0
    assert configured.execute(INDEXES).fetchall() == [("embedding_1_hnsw", True)]


def test_an_admin_who_does_not_own_the_tables_builds_too(configured: psycopg.Connection, connect: Connect) -> None:
    configured.execute(MANY, [200])
    try:
        configured.execute("CREATE ROLE operator LOGIN IN ROLE omop_emb_admin")
        assert index(connect(user="operator")).embedded == 216
        assert index_valid(configured) == [(True, True)]
    finally:
        configured.execute("DROP ROLE operator")
