"""A connection that outlives a restart of the database."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from omop_emb.errors import OmopEmbError
from omop_emb.indexing.endpoints import growing_pause

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
CANCEL_SECONDS = 1.0


class Session:
    """Runs actions on a connection in autocommit mode; ``open_anew`` gives another one when it is lost.

    That is tried until it succeeds; ``unavailable`` is told the error and in how many seconds the next attempt comes.
    Without ``open_anew`` a lost connection is an error. An action may be run twice: the server may have committed what
    it did before the connection was lost.
    """

    def __init__(
        self,
        connection: psycopg.Connection,
        open_anew: Callable[[], psycopg.Connection] | None = None,
        unavailable: Callable[[str, float], None] = lambda message, seconds: None,
    ) -> None:
        self.connection = connection
        self._open_anew = open_anew
        self._unavailable = unavailable
        self._leaving = threading.Event()

    def run(self, action: Callable[[psycopg.Connection], T]) -> T:
        """Return what the action returns."""
        while True:
            try:
                return action(self.connection)
            except psycopg.OperationalError:
                if self._open_anew is None or self._leaving.is_set() or not self.connection.closed:
                    raise
            self.connection = self._reopen(self._open_anew)

    def run_last(self, action: Callable[[psycopg.Connection], T]) -> T:
        """Do the same, also after a signal that came between sending a statement and waiting for it.

        psycopg cancels only what it waits for. A lost connection is an error.
        """
        underlying = self.connection.pgconn
        if underlying.transaction_status == TransactionStatus.ACTIVE:
            self.connection.cancel_safe(timeout=CANCEL_SECONDS)
            while underlying.get_result() is not None:
                pass
        return action(self.connection)

    @contextmanager
    def leaving(self) -> Iterator[None]:
        """Within the block, a lost connection is an error, also for a thread that is waiting for another one."""
        self._leaving.set()
        try:
            yield
        finally:
            self._leaving.clear()

    def _reopen(self, open_anew: Callable[[], psycopg.Connection]) -> psycopg.Connection:
        failures = 0
        while True:
            try:
                return open_anew()
            except (OmopEmbError, psycopg.OperationalError) as error:
                if self._leaving.is_set() or not isinstance(error.__cause__ or error, psycopg.OperationalError):
                    raise
                failures += 1
                pause = growing_pause(failures, FIRST_PAUSE, LONGEST_PAUSE) * random.uniform(0.8, 1.2)  # noqa: S311
                self._unavailable(str(error), pause)
            self._leaving.wait(pause)
