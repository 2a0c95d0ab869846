"""The queue of jobs as a worker sees it: lease, renew, store, give back."""

import copy
import os
import secrets
import socket
import struct
from array import array
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import psycopg

from omop_emb.errors import OmopEmbError
from omop_emb.indexing.session import Session

COPY_STAGED = "COPY pg_temp.omop_emb_staging (text_hash, embedding, error) FROM STDIN (FORMAT BINARY)"
# See "Binary Format" in PostgreSQL's documentation of COPY.
COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
# Who waits for a lock cannot renew leases.
LOCK_TIMEOUT = "200ms"
COPY_TRAILER = struct.pack(">h", -1)


@dataclass(frozen=True)
class Job:
    """A batch of texts to embed, with the keys of their vectors."""

    job_id: int
    text_hashes: Sequence[bytes]
    texts: Sequence[str]


@dataclass(frozen=True)
class Stored:
    """What became of staged answers, in texts (``reused``: terms, ``lost``: jobs); see ``merge_staged`` in SQL."""

    embedded: int
    reused: int
    failed: int
    lost: int


class SettingsChanged(Exception):  # noqa: N818  it is no error
    """The configuration has other document settings than those that were read."""


class Reconciling(Exception):  # noqa: N818
    """Nothing can be stored for the moment: the vocabulary is being compared, or the table of the vectors is locked."""


class JobQueue:
    """The jobs of one configuration.

    Leases are for ``lease_seconds``; what is not renewed by then, another worker may take. ``api_base`` takes the place
    of the configuration's endpoints.
    """

    def __init__(self, session: Session, config: str | None, lease_seconds: float, api_base: str | None = None) -> None:
        self._api_base = api_base
        self._session = session
        self._config = config
        self._provenance_id: int | None = None
        self.lease_seconds = lease_seconds
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"

    def beside(self, session: Session) -> "JobQueue":
        """Return the queue of the same worker over another connection, which another thread may use."""
        other = copy.copy(self)
        other._session = session
        return other

    def leaving(self) -> AbstractContextManager[None]:
        """Within the block, nothing waits for a database that is gone."""
        return self._session.leaving()

    def settings(self) -> dict[str, Any]:
        """Return the settings of the configuration, which jobs are leased for from now on."""
        row: dict[str, Any] = self._row("SELECT omop_emb.worker_settings(%s)", self._config)[0]
        self._provenance_id = row["provenance_id"]
        if self._api_base is not None:
            row |= {"api_base": self._api_base, "further_api_bases": []}
        return row

    def lease(self, max_jobs: int) -> list[Job]:
        """Return the next jobs, none when all are taken or done; SettingsChanged when ``settings`` are outdated."""
        rows = self._session.run(
            lambda connection: connection.execute(
                "SELECT job_id, provenance_id, text_hashes, texts FROM omop_emb.lease_jobs(%s, %s, %s, %s)",
                [self._config, self.worker, max_jobs, self.lease_seconds],
                binary=True,
            ).fetchall()
        )
        if any(row[1] != self._provenance_id for row in rows):
            self.release([row[0] for row in rows])
            raise SettingsChanged
        return [Job(row[0], row[2], row[3]) for row in rows]

    def renew(self) -> None:
        """Keep all jobs that this worker has for another ``lease_seconds``."""
        self._row("SELECT omop_emb.renew_lease(%s, %s)", self.worker, self.lease_seconds)

    def release(self, job_ids: Sequence[int] | None = None) -> None:
        """Give back jobs, all without ``job_ids``; a lost connection is an error, since leases expire by themselves."""
        arguments = [self.worker, None if job_ids is None else list(job_ids)]
        self._session.run_last(
            lambda connection: connection.execute("SELECT omop_emb.release_jobs(%s, %s::bigint[])", arguments)
        )

    def left(self) -> tuple[int, int]:
        """Return how many texts are queued or being embedded, and how many jobs nobody has."""
        texts, free_jobs = self._row("SELECT texts, free_jobs FROM omop_emb.jobs_left(%s)", self._config)
        return texts, free_jobs

    def store(self, job_ids: Sequence[int], rows: Sequence[bytes], unfinished: int | None = None) -> Stored:
        """Store the answers to texts of jobs, as ``staged_row`` gives them, and end the jobs, in one transaction.

        These are all texts of the jobs, but for one that may be ``unfinished``. Reconciling, with nothing done, while
        that cannot be.
        """
        return self._session.run(lambda connection: self._store(connection, job_ids, rows, unfinished))

    def _store(
        self, connection: psycopg.Connection, job_ids: Sequence[int], rows: Sequence[bytes], unfinished: int | None
    ) -> Stored:
        # By itself, so that nothing is locked while answers are sent: this process may be stopped at any time.
        free = connection.execute("SELECT omop_emb.open_staging()").fetchone()
        if not (free and free[0]):
            raise Reconciling
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('lock_timeout', %s, true),"
                " set_config('idle_in_transaction_session_timeout', %s, true)",
                [LOCK_TIMEOUT, f"{int(self.lease_seconds * 1000)}ms"],
            )
            if rows:
                with cursor.copy(COPY_STAGED) as copy:
                    copy.write(b"".join([COPY_HEADER, *rows, COPY_TRAILER]))
            try:
                cursor.execute(
                    "SELECT embedded, reused, failed, lost FROM omop_emb.merge_staged(%s, %s, %s, %s)",
                    [self._config, self.worker, list(job_ids), unfinished],
                )
            except psycopg.errors.LockNotAvailable:
                raise Reconciling from None
            return Stored(*(cursor.fetchone() or (0, 0, 0, 0)))

    def _row(self, statement: str, *arguments: object) -> Any:
        row = self._session.run(lambda connection: connection.execute(statement, arguments).fetchone())
        if row is None:
            raise OmopEmbError(f"the database did not answer: {statement}")
        return row


def staged_row(text_hash: bytes, vector: Sequence[float] | None, error: str | None) -> bytes:
    """Return a row of the staging table as binary COPY reads it: a vector of float32, or why there is none."""
    parts = [struct.pack(">hi", 3, len(text_hash)), text_hash]
    if vector is None:
        parts.append(struct.pack(">i", -1))
    else:
        components = array("f", vector)
        if struct.pack("=h", 1) != struct.pack(">h", 1):
            components.byteswap()
        data = components.tobytes()
        parts += [struct.pack(">ihh", 4 + len(data), len(components), 0), data]
    if error is None:
        parts.append(struct.pack(">i", -1))
    else:
        said = error.replace("\0", "").encode("utf-8", "replace")
        parts += [struct.pack(">i", len(said)), said]
    return b"".join(parts)
