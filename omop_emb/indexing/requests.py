"""Requests to the endpoints of a configuration, several at a time, each in a thread."""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from omop_emb.indexing.endpoints import Endpoints
from omop_emb.indexing.jobs import Job, staged_row
from omop_emb.server.embedding import DOCUMENT, EmbeddingError, embed_each
from omop_emb.server.transport import close_kept, make_pause, make_post


class Stopped(Exception):  # noqa: N818
    """The threads are to end."""


@dataclass(frozen=True)
class Answered:
    """A job with its answers as they are staged; without any when no endpoint could be asked."""

    job: Job
    rows: list[bytes] | None
    # Whether these are all, or the last, of the job.
    finishes: bool = True


class Requests:
    """Embeds jobs in ``concurrency`` threads; ``events`` gets an Answered for each, or what a thread died of."""

    def __init__(self, concurrency: int, events: "queue.SimpleQueue[Any]") -> None:
        self._events = events
        self._todo: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        # Read together, once per job.
        self._target: tuple[Mapping[str, Any], Endpoints] = ({}, Endpoints([], time.monotonic))
        self.has_worked = False
        # Jobs that got no answer before.
        self._doubtful: set[int] = set()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(concurrency)]
        for thread in self._threads:
            thread.start()

    def use(self, settings: Mapping[str, Any]) -> None:
        """Embed with these settings from now on."""
        bases = [settings["api_base"], *settings["further_api_bases"]]
        self._target = (settings, Endpoints(bases, time.monotonic))

    def submit(self, job: Job) -> None:
        """Embed a job as soon as a thread is free."""
        self._todo.put(job)

    def problem(self) -> EmbeddingError | None:
        """Return the error of an endpoint when all of them fail."""
        return self._target[1].all_failing()

    def close(self) -> None:
        """Break off what is under way and end the threads; what they have answered is in ``events``."""
        self._stop.set()
        for _ in self._threads:
            self._todo.put(None)
        for thread in self._threads:
            thread.join()

    def _check(self) -> None:
        if self._stop.is_set():
            raise Stopped

    def _work(self) -> None:
        connections: dict[Any, Any] = {}
        post, pause = make_post(connections, self._check), make_pause(self._check)
        try:
            while (job := self._todo.get()) is not None:
                self._check()
                self._events.put(self._embed(job, post, pause))
        except Stopped:
            pass
        except Exception as error:
            self._events.put(error)
        finally:
            close_kept(connections)

    def _embed(self, job: Job, post: Any, pause: Callable[[float], None]) -> Answered:
        settings, endpoints = self._target
        while (endpoint := endpoints.take()) is None:
            pause(0.1)
            settings, endpoints = self._target
        failure: EmbeddingError | None = None
        try:
            answers = embed_each(
                {**settings, "api_base": endpoint.api_base},
                DOCUMENT,
                job.texts,
                post,
                pause,
                time.monotonic,
                # A text that is tried alone, since it got no answer before, must not look like a dead endpoint.
                doubtful=not self.has_worked or job.job_id in self._doubtful,
            )
        except EmbeddingError as error:
            failure = error
            self._doubtful.add(job.job_id)
            return Answered(job, None)
        finally:
            endpoints.give_back(endpoint, failure)
        self.has_worked = True
        self._doubtful.discard(job.job_id)
        return Answered(job, [staged_row(key, *answer) for key, answer in zip(job.text_hashes, answers, strict=True)])
