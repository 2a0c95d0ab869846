"""The endpoints of a configuration: taken in turn, left out for a while when they fail."""

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from omop_emb.server.embedding import EmbeddingError

FIRST_REST = 0.5
LONGEST_REST = 60.0


def growing_pause(failures: int, first: float, longest: float) -> float:
    """Return how many seconds to wait after so many failures in a row: twice as long each time."""
    # Of a thousand, the power would be too large for a float.
    return min(longest, first * 2.0 ** min(failures - 1, 30))


@dataclass
class Endpoint:
    """One address, the requests it is working on, and how it has done: ``rests_until`` by the clock."""

    api_base: str
    in_flight: int = 0
    failures: int = 0
    rests_until: float = 0.0
    error: EmbeddingError | None = None


class Endpoints:
    """Gives each request an endpoint: of those that work, the one with the fewest requests, in turn.

    One that fails rests, twice as long each time, up to a minute; then a single request tries it, and the others go
    on resting until that one succeeds (a circuit breaker). Safe for threads.
    """

    def __init__(self, api_bases: Sequence[str], clock: Callable[[], float]) -> None:
        self._endpoints = [Endpoint(api_base) for api_base in api_bases]
        self._clock = clock
        self._lock = threading.Lock()
        self._last = 0

    def take(self) -> Endpoint | None:
        """Return the endpoint for the next request, to be given back; None while all rest."""
        with self._lock:
            now = self._clock()
            count = len(self._endpoints)
            in_turn = [self._endpoints[(self._last + 1 + i) % count] for i in range(count)]
            usable = [e for e in in_turn if not e.failures or (now >= e.rests_until and e.in_flight == 0)]
            if not usable:
                return None
            chosen = min(usable, key=lambda e: e.in_flight)
            self._last = self._endpoints.index(chosen)
            chosen.in_flight += 1
            return chosen

    def give_back(self, endpoint: Endpoint, error: EmbeddingError | None) -> None:
        """Say how a request went: ``error`` is one that is not about its texts."""
        with self._lock:
            endpoint.in_flight -= 1
            endpoint.error = error
            if error is None:
                endpoint.failures, endpoint.rests_until = 0, 0.0
                return
            # Requests that were under way together fail together: that is one failure.
            if self._clock() >= endpoint.rests_until:
                endpoint.failures += 1
                rest = growing_pause(endpoint.failures, FIRST_REST, LONGEST_REST) * random.uniform(0.8, 1.2)  # noqa: S311
                endpoint.rests_until = self._clock() + max(rest, min(error.busy or 0.0, LONGEST_REST))

    def all_failing(self) -> EmbeddingError | None:
        """Return an error when every endpoint has one, else None."""
        with self._lock:
            if all(endpoint.failures for endpoint in self._endpoints):
                return next((e.error for e in self._endpoints if e.error is not None), None)
            return None
