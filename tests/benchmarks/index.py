"""How many texts a second omop_emb_index() brings from an endpoint that costs nothing into its table."""

import threading
import time
from collections.abc import Iterator
from statistics import median

import psycopg

from omop_emb.configuration import configure
from omop_emb.demo.cluster import Cluster
from tests.benchmarks.endpoint import running_endpoint
from tests.benchmarks.environment import DIMENSIONS, TEMPLATE, Options, concept_rows, connect, copy_in
from tests.benchmarks.figures import Figure, duration, in_turn
from tests.benchmarks.progress import Progress

TEXTS = 20_000
ROUNDS = 3
LIMIT = 3000


def run(cluster: Cluster, progress: Progress, _: Options) -> Iterator[Figure]:
    """Measure the function and a COPY of the same rows, each in a fresh database per round."""
    progress.step(f"loading {TEXTS:,} concepts")
    cluster.create_database("index", template=TEMPLATE)
    builds: list[float] = []
    rows: list[bytes] = []

    def fresh_database(name: str) -> str:
        cluster.drop_database(name)
        cluster.create_database(name, template="index")
        return name

    def index(number: int) -> float:
        progress.step(f"round {number + 1} of {ROUNDS}: omop_emb_index()")
        with connect(cluster, fresh_database("indexed")) as connection, connect(cluster, "indexed") as observer:
            loading, building = time_index(connection, observer)
            builds.append(building)
            with connection.cursor() as cursor, cursor.copy("COPY omop_emb.embedding_1 TO STDOUT BINARY") as copy_out:
                rows[:] = [b"".join(bytes(part) for part in copy_out)]
        return loading

    def copy(number: int) -> float:
        progress.step(f"round {number + 1} of {ROUNDS}: COPY of the same rows")
        with connect(cluster, fresh_database("copied")) as connection:
            return copy_in(connection, "COPY omop_emb.embedding_1 FROM STDIN BINARY", rows[0])

    with running_endpoint(TEXTS + 1, seed=1) as url:
        with connect(cluster, "index") as connection:
            configure(connection, "bench", {"api_base": url, "model": "synthetic", "dimensions": DIMENSIONS})
            copy_in(connection, "COPY cdm.concept FROM STDIN", concept_rows(TEXTS))
        index(0)
        builds.clear()
        times = in_turn({"index": index, "copy": copy}, ROUNDS)
    indexed, copied = median(times["index"]), median(times["copy"])
    measured = f"{TEXTS:,} texts in {duration(indexed)}; HNSW then {duration(median(builds))}"
    what = "texts indexed, the HNSW build aside"
    yield Figure("index", what, TEXTS / indexed, "/s", measured, LIMIT, more_is_better=True)
    yield Figure(
        "index", "rows of a binary COPY of the same", TEXTS / copied, "/s", duration(copied), more_is_better=True
    )
    measured = f"{duration(indexed)} against {duration(copied)}"
    yield Figure("index", "omop_emb_index(), the HNSW build aside / COPY", indexed / copied, "x", measured)


def time_index(connection: psycopg.Connection, observer: psycopg.Connection) -> tuple[float, float]:
    """Return the seconds that omop_emb_index() takes before it builds the HNSW index, and from then on."""
    build_started: list[float] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.01) and not build_started:
            if observer.execute("SELECT FROM pg_stat_progress_create_index").fetchone() is not None:
                build_started.append(time.perf_counter())

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    try:
        row = connection.execute("SELECT embedded, failed, remaining FROM omop_emb_index()").fetchone()
    finally:
        finished = time.perf_counter()
        ended.set()
        watcher.join()
    assert row == (TEXTS, 0, 0), row
    return build_started[0] - started, finished - build_started[0]
