"""Leases jobs, keeps several requests under way and stores what comes back; nothing is held open in between."""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg

from omop_emb.errors import OmopEmbError
from omop_emb.indexing.endpoints import Endpoints
from omop_emb.indexing.jobs import Job, JobQueue, Reconciling, SettingsChanged, staged_row
from omop_emb.server.embedding import DOCUMENT, EmbeddingError, embed_each
from omop_emb.server.transport import close_kept, make_pause, make_post

# A transaction that stores takes about so long.
STORE_SECONDS = 0.04
FEWEST_TEXTS, MOST_TEXTS = 32, 2048
# What is leased in advance keeps the requests going for about so long.
AHEAD_SECONDS = 0.3


class Stopped(Exception):  # noqa: N818
    """The pipeline is to end."""


@dataclass
class Counts:
    """What was done so far, in texts (``reused``: in terms), and how many texts are left in the queue."""

    embedded: int = 0
    reused: int = 0
    failed: int = 0
    left: int = 0


@dataclass(frozen=True)
class _Finished:
    """A job with its answers; without any when no endpoint could be asked and it has to be tried again."""

    job: Job
    rows: list[bytes] | None
    seconds: float = 0.0


@dataclass
class _Speed:
    """How many jobs the endpoints finish a second, and how many texts are stored in ``STORE_SECONDS``."""

    jobs: float = 0.0
    texts_per_store: int = FEWEST_TEXTS
    since: float = field(default_factory=time.monotonic)
    finished: int = 0

    def count(self, jobs: int) -> None:
        """Take note of jobs that were finished."""
        self.finished += jobs
        elapsed = time.monotonic() - self.since
        if elapsed >= 0.5:
            self.jobs, self.since, self.finished = self.finished / elapsed, time.monotonic(), 0

    def stored(self, texts: int, seconds: float) -> None:
        """Take note of how long it took to store texts."""
        wanted = int(texts * STORE_SECONDS / max(seconds, 0.001))
        self.texts_per_store = min(max(wanted, FEWEST_TEXTS, self.texts_per_store // 2), MOST_TEXTS, 2 * texts + 64)


class Pipeline:
    """Embeds the jobs of a queue as long as there are any.

    ``concurrency`` requests are under way at a time, each in a thread; everything else happens in the caller's. When
    all endpoints fail, they are asked again for ``patience_seconds``, and then their error is raised; at once when none
    has ever answered.
    """

    def __init__(
        self,
        jobs: JobQueue,
        concurrency: int,
        *,
        patience_seconds: float,
        report: Callable[[Counts], None],
        warn: Callable[[str], None],
    ) -> None:
        self._jobs = jobs
        self._concurrency = concurrency
        self._patience_seconds = patience_seconds
        self._report = report
        self._warn = warn
        self.counts = Counts()
        self._stop = threading.Event()
        self._todo: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[_Finished] = queue.SimpleQueue()
        self._waiting: list[_Finished] = []
        self._under_way = 0
        self._speed = _Speed()
        self._renewed = self._succeeded = self._left_at = time.monotonic()
        self._has_worked = False
        self._last_warning = ""
        self._settings: Mapping[str, Any] = {}
        self._threads: list[threading.Thread] = []
        self._endpoints = Endpoints([], time.monotonic)

    def run(self) -> Counts:
        """Embed until no job is left, not even with other workers; on any way out, what is embedded is stored."""
        self._read_settings()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self._concurrency)]
        for thread in self._threads:
            thread.start()
        try:
            self._drain()
        finally:
            self._end()
        return self.counts

    def _drain(self) -> None:
        exhausted = False
        while True:
            wanted = max(2 * self._concurrency, int(self._speed.jobs * AHEAD_SECONDS))
            if not exhausted and self._under_way <= wanted // 2:
                exhausted = not self._lease(wanted - self._under_way)
            if self._under_way:
                self._collect(0.05)
            if self._waiting and (self._staged_texts() >= self._speed.texts_per_store or not self._under_way):
                self._store()
            self._keep_lease()
            self._give_up_if_hopeless()
            if not self._under_way and not self._waiting:
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
            self._read_settings()
            return True
        for job in leased:
            self._under_way += 1
            if job.texts:
                self._todo.put(job)
            else:
                self._done.put(_Finished(job, []))
        return bool(leased)

    def _read_settings(self) -> None:
        settings = self._jobs.settings()
        # Threads read the attribute once per job.
        self._endpoints = Endpoints([settings["api_base"], *settings["further_api_bases"]], time.monotonic)
        self._settings = settings

    def _collect(self, timeout: float) -> None:
        """Take over what the threads have finished, waiting for the first."""
        finished = 0
        try:
            while True:
                answered = self._done.get(timeout=timeout if not finished else 0)
                finished += 1
                if answered.rows is None:
                    self._todo.put(answered.job)
                    continue
                self._under_way -= 1
                self._waiting.append(answered)
                if self._staged_texts() >= self._speed.texts_per_store:
                    break
        except queue.Empty:
            pass
        self._speed.count(finished)

    def _staged_texts(self) -> int:
        return sum(len(answered.job.texts) for answered in self._waiting)

    def _store(self) -> None:
        """Store what fits into one short transaction; the rest stays for the next."""
        chosen: list[_Finished] = []
        texts = 0
        for answered in self._waiting:
            if chosen and texts + len(answered.job.texts) > self._speed.texts_per_store:
                break
            chosen.append(answered)
            texts += len(answered.job.texts)
        started = time.monotonic()
        rows = [row for answered in chosen for row in answered.rows or []]
        try:
            stored = self._jobs.store([answered.job.job_id for answered in chosen], rows)
        except Reconciling:
            time.sleep(0.05)
            return
        self._speed.stored(texts, time.monotonic() - started)
        del self._waiting[: len(chosen)]
        self.counts.embedded += stored.embedded
        self.counts.reused += stored.reused
        self.counts.failed += stored.failed
        if stored.lost:
            self._warn(
                f"the answers for {stored.lost} jobs were dropped: their lease of {self._jobs.lease_seconds:g} s had"
                " expired and another worker has them, or the configuration was changed"
            )
        if time.monotonic() - self._left_at > 1:
            self.counts.left, _ = self._jobs.left()
            self._left_at = time.monotonic()
        else:
            self.counts.left = max(0, self.counts.left - stored.embedded - stored.failed)
        self._report(self.counts)

    def _keep_lease(self) -> None:
        if time.monotonic() - self._renewed > self._jobs.lease_seconds / 4:
            self._jobs.renew()
            self._renewed = time.monotonic()

    def _give_up_if_hopeless(self) -> None:
        error = self._endpoints.all_failing()
        if error is None:
            self._succeeded = time.monotonic()
            return
        patience = self._patience_seconds
        if not self._has_worked or time.monotonic() - self._succeeded > patience:
            raise OmopEmbError(error.message, error.hint, error.sqlstate)
        if error.message != self._last_warning:
            self._last_warning = error.message
            self._warn(f"{error.message}; trying again")

    def _end(self) -> None:
        """Let the threads end, store what they have finished and give back the rest."""
        self._stop.set()
        for _ in self._threads:
            self._todo.put(None)
        for thread in self._threads:
            thread.join()
        self._collect_rest()
        try:
            while self._waiting:
                self._store()
        finally:
            # With the connection gone, the lease expires by itself.
            with suppress(psycopg.OperationalError):
                self._jobs.release()

    def _collect_rest(self) -> None:
        while not self._done.empty():
            answered = self._done.get()
            if answered.rows is not None:
                self._waiting.append(answered)

    # --- in the threads

    def _check(self) -> None:
        if self._stop.is_set():
            raise Stopped

    def _work(self) -> None:
        connections: dict[Any, Any] = {}
        post, pause = make_post(connections, self._check), make_pause(self._check)
        try:
            while (job := self._todo.get()) is not None:
                self._check()
                self._done.put(self._embed(job, post, pause))
        except Stopped:
            pass
        finally:
            close_kept(connections)

    def _embed(self, job: Job, post: Any, pause: Callable[[float], None]) -> _Finished:
        settings, endpoints = self._settings, self._endpoints
        endpoint = endpoints.take()
        while endpoint is None:
            pause(0.1)
            endpoint = endpoints.take()
        failure: EmbeddingError | None = None
        try:
            answers = embed_each(
                {**settings, "api_base": endpoint.api_base}, DOCUMENT, job.texts, post, pause, time.monotonic
            )
        except EmbeddingError as error:
            failure = error
            return _Finished(job, None)
        finally:
            endpoints.give_back(endpoint, failure)
        self._has_worked = True
        rows = [staged_row(key, *answer) for key, answer in zip(job.text_hashes, answers, strict=True)]
        return _Finished(job, rows)
