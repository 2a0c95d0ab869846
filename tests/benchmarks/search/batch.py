"""How much faster many queries are in one call than in a call each, when their vectors are not known yet."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count as numbers
from statistics import median

from tests.benchmarks.environment import seconds
from tests.benchmarks.figures import Figure, duration, in_turn
from tests.benchmarks.model import running_model
from tests.benchmarks.progress import Progress
from tests.benchmarks.search.database import Setup, quoted, search

CONCEPTS = 100_000
QUERIES = 1000
QUERIES_OF_MODEL = 300
ROUNDS = 3
LIMIT = 3


def run(setup: Setup, progress: Progress) -> Iterator[Figure]:
    """Measure with an endpoint that costs nothing, then with the bundled model."""
    for mode, limit in (("hybrid", LIMIT), ("semantic", None)):
        yield compare(setup, progress, "an endpoint that costs nothing", mode, QUERIES, limit)
    with running_model() as url, setup.session(CONCEPTS) as connection:
        connection.execute("UPDATE omop_emb.config SET api_base = %s", [url])
        try:
            for mode, limit in (("hybrid", LIMIT), ("semantic", None)):
                yield compare(setup, progress, "the bundled model", mode, QUERIES_OF_MODEL, limit)
        finally:
            connection.execute("UPDATE omop_emb.config SET api_base = %s", [setup.url])


def compare(setup: Setup, progress: Progress, endpoint: str, mode: str, queries: int, limit: float | None) -> Figure:
    """Return how many times as long single calls take, each time in a new session with texts of its own."""
    drawn = numbers()

    def forgetful(ask: Callable[[Sequence[str]], list[str]]) -> Callable[[int], float]:
        def run_once(_: int) -> float:
            start = next(drawn) * queries % (len(setup.texts) - queries)
            with setup.session(CONCEPTS, "TRUNCATE omop_emb.query_vector") as connection:
                # What is planned and loaded once a session is not the matter here.
                seconds(connection, search("first in the session", mode))
                seconds(connection, in_one_call(["first in the session"], mode))
                return sum(seconds(connection, statement) for statement in ask(setup.texts[start : start + queries]))

        return run_once

    times = in_turn(
        {
            "single": forgetful(lambda texts: [search(text, mode) for text in texts]),
            "batch": forgetful(lambda texts: [in_one_call(texts, mode)]),
        },
        ROUNDS,
        lambda number: progress.step(f"{queries:,} queries, {mode}, {endpoint}, round {number + 1} of {ROUNDS}"),
    )
    single, batch = median(times["single"]), median(times["batch"])
    what = f"{queries:,} {mode} searches in single calls / in one batch, {endpoint}"
    measured = f"{duration(single)} against {duration(batch)}"
    return Figure("search", what, single / batch, "x", measured, limit, more_is_better=True)


def in_one_call(texts: Sequence[str], mode: str) -> str:
    """Return the search for all texts."""
    array = "ARRAY[" + ",".join(map(quoted, texts)) + "]"
    return f"SELECT * FROM omop_emb_search_batch({array}, k => 10, mode => '{mode}')"
