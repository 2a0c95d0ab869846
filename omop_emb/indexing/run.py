"""Bring the index of a configuration up to date from a client, in transactions that stay short."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import psycopg

from omop_emb.database import another, readable_errors
from omop_emb.errors import OmopEmbError
from omop_emb.indexing.hnsw import build_indexes
from omop_emb.indexing.jobs import JobQueue
from omop_emb.indexing.pipeline import Counts, Pipeline
from omop_emb.indexing.session import Session
from omop_emb.install import require_schema
from omop_emb.progress import Show, show_nothing

CONCURRENCY = 4
LEASE_SECONDS = 60.0
PATIENCE_SECONDS = 30.0
# Connections that store: while one waits for the disk, the other works.
STORES = 2


@dataclass
class IndexResult:
    """What an index run did, in texts (``reused``: in terms); see ``omop_emb_index`` in SQL."""

    embedded: int = 0
    reused: int = 0
    removed: int = 0
    failed: int = 0
    remaining: int = 0


def index(
    connection: psycopg.Connection,
    config: str | None = None,
    show: Show = show_nothing,
    *,
    concurrency: int = CONCURRENCY,
    lease_seconds: float = LEASE_SECONDS,
    patience_seconds: float = PATIENCE_SECONDS,
    retry_failed: bool = False,
    api_base: str | None = None,
    warn: Callable[[str], None] = lambda message: None,
) -> IndexResult:
    """Work through everything pending, beside any other workers; what is done is committed as it goes.

    ``connection`` must be in autocommit mode. ``api_base`` is for an endpoint that has another address here than in
    the configuration. Raises OmopEmbError when the endpoints have failed for ``patience_seconds``, or never worked;
    what is embedded by then is kept.
    """
    with readable_errors():
        require_schema(connection)
        if retry_failed:
            connection.execute("SELECT omop_emb.retry_failed(%s)", [config])
        row = connection.execute("SELECT removed, reused, pending FROM omop_emb.begin_index(%s)", [config]).fetchone()
        if row is None:
            raise OmopEmbError("the database did not answer how many texts are pending")
        removed, reused, total = row

        def report(counts: Counts) -> None:
            done = counts.embedded + counts.failed
            note = f"{reused + counts.reused:,} reused, {counts.failed:,} failed"
            if total or done or counts.left:
                show("embedding", done, max(total, done + counts.left), note)

        if total:
            show("embedding", 0, total)
        jobs = JobQueue(Session(connection), config, lease_seconds, api_base)
        with ExitStack() as opened:
            stores = [jobs.beside(Session(opened.enter_context(another(connection)))) for _ in range(STORES)]
            counts = Pipeline(
                jobs, stores, concurrency, patience_seconds=patience_seconds, report=report, warn=warn
            ).run()
        build_indexes(connection, config, show, warn)
        remaining = connection.execute("SELECT omop_emb.texts_without_vector(%s)", [config]).fetchone()
    return IndexResult(
        counts.embedded, reused + counts.reused, removed, counts.failed, remaining[0] if remaining else 0
    )
