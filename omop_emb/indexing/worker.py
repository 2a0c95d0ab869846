"""The worker: keeps the indexes up to date for ever, through restarts of the database and of the endpoints."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psycopg

from omop_emb.database import connect, readable_errors
from omop_emb.errors import OmopEmbError
from omop_emb.indexing.endpoints import growing_pause
from omop_emb.indexing.hnsw import build_indexes
from omop_emb.indexing.jobs import JobQueue
from omop_emb.indexing.pipeline import Counts, Pipeline
from omop_emb.indexing.run import CONCURRENCY, LEASE_SECONDS, PATIENCE_SECONDS, STORES
from omop_emb.indexing.session import FIRST_PAUSE, LONGEST_PAUSE, Session
from omop_emb.install import require_schema

CHANNEL = "omop_emb"

# Is told what happened, with figures.
Log = Callable[..., None]


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker works; ``configs`` are names, none is all of them, intervals are seconds; see also ``index``."""

    configs: Sequence[str] = ()
    api_base: str | None = None
    concurrency: int = CONCURRENCY
    lease_seconds: float = LEASE_SECONDS
    poll_seconds: float = 60.0
    compare_seconds: float = 3600.0


class Worker:
    """Indexes what changes, woken by NOTIFY and at least every ``poll_seconds``.

    Every ``compare_seconds``, and at the start, it compares the index with the whole vocabulary, since disabled
    triggers and restores tell nobody what they changed.
    """

    def __init__(self, dsn: str | None, options: WorkerOptions, log: Log) -> None:
        self._dsn = dsn
        self._options = options
        self._log = log
        self._compared = float("-inf")
        # By configuration: failures in a row, and when to try it again.
        self._failures: dict[str, tuple[int, float]] = {}
        self._listening: psycopg.Connection | None = None

    def run(self) -> None:
        """Work until something raises: a signal, or OmopEmbError when the database has another schema than this."""
        session = self._session(listens=True)
        self._stores = [self._session(listens=False) for _ in range(STORES)]
        self._log("started", configurations=session.run(self._names))
        failures = 0
        while True:
            try:
                with readable_errors():
                    self._round(session)
                    failures = 0
                    self._wait(session)
            except OmopEmbError as error:
                with suppress(psycopg.Error):
                    session.run(require_schema)
                failures += 1
                pause = growing_pause(failures, FIRST_PAUSE, LONGEST_PAUSE)
                self._log("error", message=error.message, next_attempt_seconds=round(pause, 1))
                time.sleep(pause)

    def _session(self, *, listens: bool) -> Session:
        def open_connection() -> psycopg.Connection:
            connection = connect(self._dsn, autocommit=True)
            connection.add_notice_handler(self._hear)
            require_schema(connection)
            if listens:
                connection.execute(f"LISTEN {CHANNEL}")
            return connection

        def unavailable(message: str, seconds: float) -> None:
            self._log("database unavailable", message=message, next_attempt_seconds=round(seconds, 1))

        return Session(open_connection(), open_connection, unavailable)

    def _hear(self, notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            self._log("warning", message=notice.message_primary)

    def _names(self, connection: psycopg.Connection) -> list[str]:
        there = [row[0] for row in connection.execute("SELECT name FROM omop_emb.config ORDER BY name")]
        missing = [name for name in self._options.configs if name not in there]
        if missing:
            raise OmopEmbError(f"there is no embedding configuration {missing[0]!r}", f"There are: {there}.", "OE002")
        return list(self._options.configs) or there

    def _round(self, session: Session) -> None:
        session.run(require_schema)
        compare = time.monotonic() - self._compared > self._options.compare_seconds

        def catch_up(connection: psycopg.Connection) -> None:
            # Of what changes from now on, this one is told.
            self._listening = connection
            connection.execute("SELECT omop_emb.catch_up(%s)", [compare])

        session.run(catch_up)
        if compare:
            self._compared = time.monotonic()
        names = session.run(self._names)
        self._failures = {name: failure for name, failure in self._failures.items() if name in names}
        for config in names:
            failures, not_before = self._failures.get(config, (0, 0.0))
            if time.monotonic() < not_before:
                continue
            try:
                with readable_errors():
                    self._index(session, config)
                self._failures.pop(config, None)
            except OmopEmbError as error:
                pause = growing_pause(failures + 1, FIRST_PAUSE, LONGEST_PAUSE)
                self._failures[config] = (failures + 1, time.monotonic() + pause)
                self._log("error", config=config, message=error.message, next_attempt_seconds=round(pause, 1))

    def _index(self, session: Session, config: str) -> None:
        said = time.monotonic()

        def report(counts: Counts) -> None:
            nonlocal said
            if time.monotonic() - said >= 10:
                said = time.monotonic()
                self._log("embedding", config=config, **vars(counts))

        def warn(message: str) -> None:
            self._log("warning", config=config, message=message)

        jobs = JobQueue(session, config, self._options.lease_seconds, self._options.api_base)
        pipeline = Pipeline(
            jobs,
            [jobs.beside(store) for store in self._stores],
            self._options.concurrency,
            patience_seconds=PATIENCE_SECONDS,
            report=report,
            warn=warn,
        )
        started = time.monotonic()
        counts = pipeline.run()
        if counts.embedded or counts.failed:
            self._log("embedded", config=config, **vars(counts), seconds=round(time.monotonic() - started, 3))
        built: set[str] = set()

        def show(step: str, done: int, total: int | None, note: str = "") -> None:
            if step not in built:
                built.add(step)
                self._log(step, config=config)

        build_indexes(session.connection, config, show, warn)

    def _wait(self, session: Session) -> None:
        """Return when something has changed, when it is time to look, or when a failed configuration is due."""
        due = [not_before for _, not_before in self._failures.values()]
        due.append(self._compared + self._options.compare_seconds)
        timeout = min([self._options.poll_seconds, *(max(0.0, at - time.monotonic()) for at in due)])

        def wait(connection: psycopg.Connection) -> None:
            # A new connection was not told what changed while there was none.
            if connection is self._listening:
                # Whatever came up to now is answered by one round.
                list(connection.notifies(timeout=max(timeout, 0.01), stop_after=1))

        session.run(wait)
