"""A timeout, a cancel or a terminate ends every function within 0.6 s, whatever the endpoint does."""

import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psycopg
import pytest

from omop_emb.configuration import configure
from omop_emb.demo.cluster import Cluster
from omop_emb.install import migrate
from tests.conftest import VOCABULARY, Connect
from tests.endpoint import Endpoint
from tests.sockets import Peer, crowded, deaf, dripping, flooding, oversized, silent

LIMIT = 0.6
STATEMENTS = ("SELECT * FROM omop_emb_search('chest pain')", "SELECT * FROM omop_emb_index()")
SETTINGS = {
    "model": "recorded",
    "dimensions": 8,
    "document_prefix": "doc: ",
    "query_prefix": "query: ",
    "timeout_ms": 60000,
}
# Eight megabytes in one batch are more than the system's send buffers hold.
LONG_TEXTS = """
    ALTER TABLE cdm.concept ALTER COLUMN concept_name TYPE text;
    INSERT INTO cdm.concept (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id, concept_code)
    SELECT i, i || repeat(' long text', 400), 'Condition', 'SNOMED', 'Disorder', i FROM generate_series(1, 2048) i
"""


class Statement:
    """A statement that runs in a thread of its own, and when and how it ended."""

    def __init__(self, connection: psycopg.Connection, statement: str) -> None:
        self.error: psycopg.Error | None = None
        self.ended = 0.0
        self._connection = connection
        self._statement = statement
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._connection.execute(self._statement)
        except psycopg.Error as error:
            self.error = error
        self.ended = time.monotonic()

    def wait(self) -> str | None:
        """Wait for its end and return the SQLSTATE of its error."""
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.error.sqlstate if self.error else None


def timeout_ends(connection: psycopg.Connection, statement: str, peer: Peer, seconds: float) -> None:
    """Run the statement with a statement_timeout that is long enough to get to the endpoint."""
    connection.execute(f"SET statement_timeout = '{seconds}s'")
    peer.forget()
    started = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute(statement)
    assert time.monotonic() - started < seconds + LIMIT - 0.5
    assert peer.reached.is_set()
    connection.execute("RESET statement_timeout")


def signal_ends(
    connection: psycopg.Connection, other: psycopg.Connection, signal: str, statement: str, peer: Peer
) -> None:
    """Run the statement until the endpoint is reached, then signal the backend."""
    pid = connection.info.backend_pid
    peer.forget()
    running = Statement(connection, statement)
    assert peer.reached.wait(10)
    # Into the middle of a wait, not of the connection's first moments.
    time.sleep(0.3)
    assert running.ended == 0
    called = time.monotonic()
    other.execute(f"SELECT {signal}(%s)", [pid])
    if signal == "pg_cancel_backend":
        assert running.wait() == "57014"
    else:
        assert running.wait() in ("57P01", None)
        assert isinstance(running.error, psycopg.OperationalError)
        while other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone():
            assert time.monotonic() - called < LIMIT
    assert max(running.ended, called) - called < LIMIT


@pytest.mark.parametrize(
    ("trap", "scheme", "statements", "preparation"),
    [
        (silent, "http", STATEMENTS, ""),
        (dripping, "http", STATEMENTS, ""),
        (flooding, "http", STATEMENTS, ""),
        (crowded, "http", STATEMENTS, ""),
        (silent, "https", STATEMENTS, ""),
        (deaf, "http", STATEMENTS[1:], LONG_TEXTS),
    ],
    ids=["never answers", "drips", "never ends", "connecting hangs", "TLS handshake hangs", "reads nothing"],
)
def test_within_the_limit(
    connect: Connect,
    endpoint: Endpoint,
    trap: Callable[[], AbstractContextManager[Peer]],
    scheme: str,
    statements: tuple[str, ...],
    preparation: str,
) -> None:
    other = connect()
    configure(other, "test", {**SETTINGS, "api_base": endpoint.url, "batch_size": 2048})
    if preparation:
        other.execute(preparation)
        other.execute("SELECT * FROM omop_emb.begin_index('test')")
    with trap() as peer:
        other.execute("UPDATE omop_emb.config SET api_base = %s", [f"{scheme}://127.0.0.1:{peer.port}/v1"])
        connection = connect()
        for statement in statements:
            timeout_ends(connection, statement, peer, 5 if preparation else 0.5)
            signal_ends(connection, other, "pg_cancel_backend", statement, peer)
            signal_ends(connect(), other, "pg_terminate_backend", statement, peer)
    other.execute("UPDATE omop_emb.config SET api_base = %s", [endpoint.url])
    assert connection.execute("SELECT remaining FROM omop_emb_index()").fetchone() == (0,)
    assert connection.execute("SELECT count(*) FROM omop_emb_search('chest pain')").fetchone() == (10,)
    assert other.execute("SELECT pending, failed FROM omop_emb.status").fetchone() == (0, 0)


def test_a_reply_too_long_to_parse_in_time(connect: Connect, endpoint: Endpoint) -> None:
    db = connect()
    configure(db, "test", {**SETTINGS, "api_base": endpoint.url, "max_retries": 0})
    with oversized() as peer:
        db.execute("UPDATE omop_emb.config SET api_base = %s", [f"http://127.0.0.1:{peer.port}/v1"])
        db.execute("SET statement_timeout = '500ms'")
        started = time.monotonic()
        with pytest.raises(psycopg.Error) as raised:
            db.execute(STATEMENTS[0])
        assert time.monotonic() - started < LIMIT
        assert raised.value.diag.sqlstate in ("57014", "OE004")


def test_lock_timeout_ends_the_wait_for_another_index_run(connect: Connect, endpoint: Endpoint) -> None:
    first, second = connect(), connect()
    configure(first, "test", {**SETTINGS, "api_base": endpoint.url})
    with silent() as peer:
        first.execute("UPDATE omop_emb.config SET api_base = %s", [f"http://127.0.0.1:{peer.port}/v1"])
        running = Statement(first, "SELECT * FROM omop_emb_index()")
        assert peer.reached.wait(10)
        second.execute("SET lock_timeout = '300ms'")
        started = time.monotonic()
        with pytest.raises(psycopg.errors.LockNotAvailable):
            second.execute("SELECT * FROM omop_emb_index()")
        assert time.monotonic() - started < LIMIT
        second.execute("SELECT pg_cancel_backend(%s)", [first.info.backend_pid])
        assert running.wait() == "57014"


HANGING_LOOKUP = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        dlsym(RTLD_NEXT, "getaddrinfo");
    if (node && !strcmp(node, "name.invalid") && !(hints && hints->ai_flags & AI_NUMERICHOST))
        for (int seconds = 0; seconds < 60; seconds++)
            sleep(1);
    return real(node, service, hints, result);
}
"""


@contextmanager
def cluster_with_hanging_lookup() -> Iterator[Cluster]:
    """Run a server on which looking up name.invalid takes a minute, as with a name server that doesn't answer."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        source, library = Path(directory) / "lookup.c", Path(directory) / "lookup.so"
        source.write_text(HANGING_LOOKUP)
        try:
            subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("no C compiler to slow the name service down with")
        with Cluster(environment={"LD_PRELOAD": str(library)}) as cluster:
            yield cluster


def test_a_host_name_lookup_that_hangs() -> None:
    peer = Peer(0, can_know=False)
    with cluster_with_hanging_lookup() as cluster:
        with psycopg.connect(cluster.dsn, autocommit=True) as other, psycopg.connect(cluster.dsn) as connection:
            other.execute(VOCABULARY)
            migrate(cluster.dsn)
            configure(other, "test", {**SETTINGS, "api_base": "http://name.invalid/v1"})
            connection.autocommit = True
            for statement in STATEMENTS:
                timeout_ends(connection, statement, peer, 0.5)
                signal_ends(connection, other, "pg_cancel_backend", statement, peer)
            with psycopg.connect(cluster.dsn, autocommit=True) as victim:
                signal_ends(victim, other, "pg_terminate_backend", STATEMENTS[0], peer)
            assert connection.execute("SELECT count(*) FROM omop_emb.status").fetchone() == (1,)
        assert "signal 11" not in cluster.log.read_text()
