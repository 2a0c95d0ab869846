"""Building the HNSW indexes of a configuration while searches and workers go on."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psycopg
from psycopg import sql

from omop_emb.database import another
from omop_emb.progress import Show

POLL_SECONDS = 0.5
LOCK_TIMEOUT = "200ms"
# Smaller builds take seconds.
WORTH_PARALLEL_BYTES = 32 * 1024 * 1024


def build_indexes(connection: psycopg.Connection, config: str | None, show: Show, warn: Callable[[str], None]) -> None:
    """Build the HNSW indexes that are missing once everything is loaded; ``connection`` is in autocommit mode.

    They are built concurrently where the connection may act as omop_emb_owner, whose tables they are on: a superuser
    may. Else a function builds them, which lets searches go on but not those who store vectors.
    """
    connection.execute("SELECT omop_emb.count_for_searches(%s)", [config])
    planned = connection.execute(
        "SELECT config_id, index_name, definition, bytes FROM omop_emb.hnsw_to_build(%s)", [config]
    ).fetchall()
    owner = connection.execute("SELECT pg_has_role('omop_emb_owner', 'MEMBER')").fetchone()
    if not planned or not (owner and owner[0]):
        with progress(connection, show):
            connection.execute("SELECT omop_emb.finish_index(%s)", [config])
        return
    config_id = planned[0][0]
    lock = "hashtext('omop_emb build'), %s"
    free = connection.execute(f"SELECT pg_try_advisory_lock({lock})", [config_id]).fetchone()
    if not (free and free[0]):
        # Whoever builds them already does it for all.
        return
    try:
        with as_builder(connection, max(row[3] for row in planned), warn), progress(connection, show):
            for _, name, definition, _ in planned:
                build_concurrently(connection, name, definition)
        adopt(connection, config)
    finally:
        with suppress(psycopg.OperationalError):
            connection.execute(f"SELECT pg_advisory_unlock({lock})", [config_id])


@contextmanager
def as_builder(connection: psycopg.Connection, wanted_bytes: float, warn: Callable[[str], None]) -> Iterator[None]:
    """Act as the owner of the tables, with the memory that a build wants as far as the server has it."""
    parallel = connection.execute("SELECT omop_emb.may_build_in_parallel()").fetchone()
    settings = {
        # A build whose client was killed ends, and does not go on for an hour.
        "client_connection_check_interval": "5s",
        "role": "omop_emb_owner",
        "lock_timeout": "0",
    }
    if not (parallel and parallel[0]):
        settings["max_parallel_maintenance_workers"] = "0"
        if wanted_bytes > WORTH_PARALLEL_BYTES:
            warn("building HNSW indexes without parallel workers: those of pgvector before 0.8.2 can corrupt memory")
    row = connection.execute(
        # What the server was given for its buffers is a measure of what memory there is.
        "SELECT (least(greatest(m, s), greatest(m, %s)) / 1024)::bigint || 'kB'"
        " FROM pg_size_bytes(current_setting('maintenance_work_mem')) m,"
        " pg_size_bytes(current_setting('shared_buffers')) s",
        [int(wanted_bytes)],
    ).fetchone()
    if row:
        settings["maintenance_work_mem"] = row[0]
    for name, value in settings.items():
        connection.execute("SELECT set_config(%s, %s, false)", [name, value])
    try:
        yield
    finally:
        # A connection that is gone must not hide what it was lost by.
        with suppress(psycopg.OperationalError):
            for name in settings:
                connection.execute(sql.SQL("RESET {}").format(sql.Identifier(name)))


def build_concurrently(connection: psycopg.Connection, name: str, definition: str) -> None:
    """Build one index; when it does not end well, nothing of it stays."""
    index = sql.Identifier(name)
    there = connection.execute("SELECT to_regclass(format('omop_emb.%%I', %s::text))", [name]).fetchone()
    if there and there[0]:
        # Of a build whose client was killed.
        connection.execute(sql.SQL("DROP INDEX CONCURRENTLY omop_emb.{}").format(index))
    try:
        connection.execute(definition.replace("INDEX", "CREATE INDEX CONCURRENTLY", 1))
    except BaseException:
        # Not CONCURRENTLY, which may wait for what the build waited for. Should somebody read the table all this time,
        # the next build drops it.
        with suppress(psycopg.OperationalError), connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '1s'")
            connection.execute("SET LOCAL client_min_messages = error")
            connection.execute(sql.SQL("DROP INDEX IF EXISTS omop_emb.{}").format(index))
        raise


def adopt(connection: psycopg.Connection, config: str | None) -> None:
    """Let searches use the new indexes; until the old ones can be dropped at once, nobody is kept waiting."""
    while True:
        try:
            with connection.transaction():
                connection.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_TIMEOUT])
                connection.execute("SELECT omop_emb.adopt_built(%s)", [config])
            return
        except psycopg.errors.LockNotAvailable:
            time.sleep(POLL_SECONDS)


@contextmanager
def progress(connection: psycopg.Connection, show: Show) -> Iterator[None]:
    """Say how far the index builds of ``connection`` are, as another connection sees it."""
    pid = connection.info.backend_pid
    ended = threading.Event()

    def watch() -> None:
        with suppress(psycopg.OperationalError), another(connection) as observer:
            while not ended.wait(POLL_SECONDS):
                row = observer.execute(
                    "SELECT c.relname, p.phase, p.blocks_done, nullif(p.blocks_total, 0), p.index_relid"
                    " FROM pg_stat_progress_create_index p LEFT JOIN pg_class c ON c.oid = p.index_relid"
                    " WHERE p.pid = %s",
                    [pid],
                ).fetchone()
                if row:
                    show(f"building {row[0] or 'an HNSW index'}", row[2] or 0, row[3])

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
