"""A connection that outlives a restart of the database."""

from collections.abc import Callable
from typing import TypeVar

import psycopg

T = TypeVar("T")


class Session:
    """Runs actions on a connection in autocommit mode; ``open_anew`` waits for another one when it is lost.

    Without ``open_anew`` a lost connection is an error. An action may be run twice: the server may have committed what
    it did before the connection was lost.
    """

    def __init__(
        self, connection: psycopg.Connection, open_anew: Callable[[], psycopg.Connection] | None = None
    ) -> None:
        self.connection = connection
        self._open_anew = open_anew

    def run(self, action: Callable[[psycopg.Connection], T], *, reconnect: bool = True) -> T:
        """Return what the action returns."""
        while True:
            try:
                return action(self.connection)
            except psycopg.OperationalError:
                if self._open_anew is None or not reconnect or not self.connection.closed:
                    raise
            self.connection = self._open_anew()
