"""How much faster two workers are than one, where the endpoint is what takes the time."""

import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median

import psycopg

from omop_emb.demo.cluster import Cluster
from tests.benchmarks.environment import connect
from tests.benchmarks.figures import Figure, duration, in_turn
from tests.benchmarks.indexing.command import command
from tests.benchmarks.indexing.database import copy_of, vectors_in
from tests.benchmarks.progress import Progress

LIMIT = 1.9
WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE application_name = 'omop_emb' AND datname = current_database() AND query LIKE '%omop_emb.jobs_left(%'"""


def run(cluster: Cluster, progress: Progress, template: str, url: str, count: int, what: str, rounds: int) -> Figure:
    """Let one worker and two embed the same texts."""

    def drain(workers: int) -> Callable[[int], float]:
        def run_once(_: int) -> float:
            database = copy_of(cluster, template, "shared", url)
            taken = seconds_of(cluster, database, workers)
            assert vectors_in(cluster, database) == count
            return taken

        return run_once

    times = in_turn(
        {"one": drain(1), "two": drain(2)},
        rounds,
        lambda number: progress.step(f"round {number + 1} of {rounds}: {count:,} texts, one worker and two"),
    )
    one, two = median(times["one"]), median(times["two"])
    measured = f"{count:,} texts, {what}: {duration(two)} against {duration(one)}"
    return Figure("index", "two workers, times as fast as one", one / two, "x", measured, LIMIT, more_is_better=True)


def seconds_of(cluster: Cluster, database: str, workers: int) -> float:
    """Return the seconds in which so many workers, all of which are there from the start, embed everything."""
    with connect(cluster, database) as connection, ExitStack() as running:
        connection.execute("SELECT omop_emb.reconcile()")
        # As if somebody else had them, until all workers wait for them.
        connection.execute("UPDATE omop_emb.job SET leased_until = 'infinity'")
        for _ in range(workers):
            process = subprocess.Popen(command(cluster, database, "worker", "--json"), stdout=subprocess.DEVNULL)
            running.callback(process.wait)
            running.callback(process.terminate)
        wait_for(connection, WAITING, workers)
        connection.execute("UPDATE omop_emb.job SET leased_until = NULL")
        started = time.perf_counter()
        wait_for(connection, "SELECT count(*) FROM (SELECT FROM omop_emb.job LIMIT 1) j", 0)
        return time.perf_counter() - started


def wait_for(connection: psycopg.Connection, statement: str, value: int) -> None:
    """Wait until the statement gives the value."""
    while (connection.execute(statement).fetchone() or (None,))[0] != value:
        time.sleep(0.02)
