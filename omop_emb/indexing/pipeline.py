"""Leases jobs, has them embedded and stored, until none is left; no transaction is open in between."""

import queue
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg

from omop_emb.errors import OmopEmbError
from omop_emb.indexing.jobs import JobQueue, SettingsChanged
from omop_emb.indexing.requests import Answered, Requests
from omop_emb.indexing.storing import MOST_TEXTS, Done, Storing

# What is leased in advance keeps the requests going for about so long.
AHEAD_SECONDS = 0.3
# Of what is leased and not stored yet: when storing cannot keep up, nothing is asked for meanwhile.
MOST_TEXTS_HELD = 8 * MOST_TEXTS


@dataclass
class Counts:
    """What was done so far, in texts (``reused``: in terms), and how many texts are left in the queue."""

    embedded: int = 0
    reused: int = 0
    failed: int = 0
    left: int = 0


class Pipeline:
    """Embeds the jobs of a queue as long as there are any.

    ``concurrency`` requests are under way at a time; answers are stored through ``stores``, queues of the same worker
    that each have a connection of their own. When all endpoints fail, they are asked again for ``patience_seconds``,
    and then their error is raised; at once when none has ever answered.
    """

    def __init__(
        self,
        jobs: JobQueue,
        stores: Sequence[JobQueue],
        concurrency: int,
        *,
        patience_seconds: float,
        report: Callable[[Counts], None],
        warn: Callable[[str], None],
    ) -> None:
        self._jobs = jobs
        self._stores = stores
        self._concurrency = concurrency
        self._patience_seconds = patience_seconds
        self._report = report
        self._warn = warn
        self.counts = Counts()
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # Jobs: with an endpoint, and leased altogether; texts of the latter.
        self._asked = self._held = self._texts_held = 0
        self._answered = 0
        self._jobs_per_second = 0.0
        now = time.monotonic()
        self._renewed = self._succeeded = self._counted = self._measured = now
        self._last_warning = ""

    def run(self) -> Counts:
        """Embed until no job is left, not even with other workers; on any way out, what is embedded is stored."""
        settings = self._jobs.settings()
        self._requests = Requests(self._concurrency, self._events)
        self._storing = Storing(self._stores, self._events)
        try:
            self._requests.use(settings)
            self._drain()
        finally:
            self._end()
        return self.counts

    def _drain(self) -> None:
        exhausted = False
        while True:
            wanted = max(2 * self._concurrency, int(self._jobs_per_second * AHEAD_SECONDS))
            if not exhausted and self._asked <= wanted // 2 and self._texts_held < MOST_TEXTS_HELD:
                exhausted = not self._lease(wanted - self._asked)
            if not self._asked:
                self._storing.flush()
            if self._held:
                self._handle_events()
            self._keep_lease()
            self._count_left()
            self._give_up_if_hopeless()
            if not self._held:
                self.counts.left, free_jobs = self._jobs.left()
                self._report(self.counts)
                if not self.counts.left:
                    return
                exhausted = False
                if not free_jobs:
                    # Other workers have the rest; should one die, its lease expires.
                    time.sleep(0.1)

    def _lease(self, count: int) -> bool:
        try:
            leased = self._jobs.lease(count)
        except SettingsChanged:
            self._requests.use(self._jobs.settings())
            return True
        for job in leased:
            self._held += 1
            self._texts_held += len(job.texts)
            if job.texts:
                self._asked += 1
                self._requests.submit(job)
            else:
                self._storing.submit(Answered(job, []))
        return bool(leased)

    def _handle_events(self) -> None:
        """Take note of what the threads have done, waiting for it a moment."""
        with suppress(queue.Empty):
            self._handle(self._events.get(timeout=0.05))
            while True:
                self._handle(self._events.get_nowait())

    def _handle(self, event: Any) -> None:
        if isinstance(event, Done):
            self._count(event)
        elif isinstance(event, Answered):
            if event.rows is None:
                self._requests.submit(event.job)
                return
            self._asked -= 1
            self._storing.submit(event)
            self._measure()
        else:
            raise event

    def _measure(self) -> None:
        self._answered += 1
        elapsed = time.monotonic() - self._measured
        if elapsed >= 0.5:
            self._jobs_per_second = self._answered / elapsed
            self._answered, self._measured = 0, time.monotonic()

    def _count(self, done: Done) -> None:
        stored = done.stored
        self._held -= done.jobs
        self._texts_held -= done.texts
        self.counts.embedded += stored.embedded
        self.counts.reused += stored.reused
        self.counts.failed += stored.failed
        if stored.lost:
            self._warn(
                f"the answers for {stored.lost} jobs were dropped: their lease of {self._jobs.lease_seconds:g} s had"
                " expired and another worker has them, or the configuration was changed"
            )
        self.counts.left = max(0, self.counts.left - stored.embedded - stored.failed)
        self._report(self.counts)

    def _count_left(self) -> None:
        if time.monotonic() - self._counted > 1:
            self.counts.left, _ = self._jobs.left()
            self._counted = time.monotonic()

    def _keep_lease(self) -> None:
        if time.monotonic() - self._renewed > self._jobs.lease_seconds / 4:
            self._jobs.renew()
            self._renewed = time.monotonic()

    def _give_up_if_hopeless(self) -> None:
        error = self._requests.problem()
        if error is None:
            self._succeeded = time.monotonic()
            return
        # One that is busy is there.
        works = self._requests.has_worked or error.busy is not None
        if not works or time.monotonic() - self._succeeded > self._patience_seconds:
            raise OmopEmbError(error.message, error.hint, error.sqlstate)
        if error.message != self._last_warning:
            self._last_warning = error.message
            self._warn(f"{error.message}; trying again")

    def _end(self) -> None:
        """Break off the requests, store what they have answered and give back the rest."""
        self._requests.close()
        with suppress(queue.Empty):
            while True:
                event = self._events.get_nowait()
                if isinstance(event, Answered) and event.rows is not None:
                    self._storing.submit(event)
                elif isinstance(event, Done):
                    self._count(event)
        self._storing.close()
        with suppress(queue.Empty):
            while True:
                event = self._events.get_nowait()
                if isinstance(event, Done):
                    self._count(event)
        # Leases expire by themselves, and what goes wrong here must not hide why this ends.
        with suppress(psycopg.Error, OmopEmbError):
            self._jobs.release()
