"""Storing answers in short transactions, over connections of their own."""

import queue
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from omop_emb.indexing.jobs import Job, JobQueue, Reconciling, Stored
from omop_emb.indexing.requests import Answered

# A transaction takes about so long.
STORE_SECONDS = 0.04
FEWEST_TEXTS, FIRST_TEXTS, MOST_TEXTS = 1, 4, 2048
# How long the end of a pipeline takes at most to store what is left, and to wait for whoever reconciles or has locked
# the table of the vectors.
CLOSE_SECONDS = 1.0
CLOSE_WAIT_SECONDS = 0.4
LONGEST_STORE_SECONDS = 10.0


@dataclass(frozen=True)
class Done:
    """How many jobs ended, of how many texts, and what became of these."""

    jobs: int
    texts: int
    stored: Stored


class Storing:
    """Stores answers in one thread per queue; ``events`` gets a Done for each transaction, or an exception."""

    def __init__(self, queues: Sequence[JobQueue], events: "queue.SimpleQueue[Any]") -> None:
        self._queues = queues
        self._events = events
        self._waiting: list[Answered] = []
        self._changed = threading.Condition()
        self._texts_per_store = FIRST_TEXTS
        self._deadline: float | None = None
        self._flush = False
        self._threads = [threading.Thread(target=self._work, args=(jobs,), daemon=True) for jobs in queues]
        for thread in self._threads:
            thread.start()

    def submit(self, answered: Answered) -> None:
        """Store an answer together with those that come before and after it."""
        with self._changed:
            self._waiting.append(answered)
            self._changed.notify()

    def flush(self) -> None:
        """Do not wait for more before storing what is there."""
        with self._changed:
            self._flush = True
            self._changed.notify_all()

    def close(self) -> None:
        """Store what is there and end the threads; what cannot be stored within ``CLOSE_SECONDS`` is dropped."""
        with self._changed:
            self._deadline = time.monotonic() + CLOSE_SECONDS
            self._changed.notify_all()
        with ExitStack() as leaving:
            for jobs in self._queues:
                leaving.enter_context(jobs.leaving())
            for thread in self._threads:
                thread.join(LONGEST_STORE_SECONDS)

    def _work(self, jobs: JobQueue) -> None:
        try:
            while chosen := self._choose():
                while len(chosen) == 1 and len(chosen[0].job.texts) > 2 * self._texts_per_store:
                    # One after the other: the last part ends the job.
                    part, rest = split(chosen[0], self._texts_per_store)
                    chosen = [rest] if self._store(jobs, [part]) else []
                if chosen:
                    self._store(jobs, chosen)
        except Exception as error:
            self._events.put(error)

    def _choose(self) -> list[Answered]:
        """Return what fits into one short transaction, when it is full or nothing else will come; none at the end."""
        with self._changed:
            while self._deadline is None and not (
                self._waiting and (self._flush or self._texts(self._waiting) >= self._texts_per_store)
            ):
                self._changed.wait()
            if self._deadline is not None and time.monotonic() > self._deadline:
                return []
            count, texts = 0, 0
            for answered in self._waiting:
                if count and texts + len(answered.job.texts) > self._texts_per_store:
                    break
                count += 1
                texts += len(answered.job.texts)
            chosen, self._waiting = self._waiting[:count], self._waiting[count:]
            if not self._waiting:
                self._flush = False
            return chosen

    def _store(self, jobs: JobQueue, chosen: list[Answered]) -> bool:
        """Say whether it could be done."""
        rows = [row for answered in chosen for row in answered.rows or []]
        unfinished = next((answered.job.job_id for answered in chosen if not answered.finishes), None)
        while True:
            started = time.monotonic()
            try:
                stored = jobs.store([answered.job.job_id for answered in chosen], rows, unfinished)
                break
            except Reconciling:
                if (
                    self._deadline is not None
                    and time.monotonic() > self._deadline - CLOSE_SECONDS + CLOSE_WAIT_SECONDS
                ):
                    # Nor will the others find a better moment.
                    self._deadline = time.monotonic()
                    return False
                time.sleep(0.05)
        texts = self._texts(chosen)
        wanted = int(texts * STORE_SECONDS / max(time.monotonic() - started, 0.001))
        with self._changed:
            self._texts_per_store = min(max(wanted, FEWEST_TEXTS), MOST_TEXTS, 2 * texts + FIRST_TEXTS)
        self._events.put(Done(sum(answered.finishes for answered in chosen), texts, stored))
        return True

    @staticmethod
    def _texts(answers: Sequence[Answered]) -> int:
        return sum(len(answered.job.texts) for answered in answers)


def split(answered: Answered, texts: int) -> tuple[Answered, Answered]:
    """Return the first answers to a job and the rest, where a whole batch takes too long to store."""
    job, rows = answered.job, answered.rows or []
    first = Answered(Job(job.job_id, job.text_hashes[:texts], job.texts[:texts]), rows[:texts], finishes=False)
    rest = Answered(Job(job.job_id, job.text_hashes[texts:], job.texts[texts:]), rows[texts:])
    return first, rest
