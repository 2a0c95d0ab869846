"""What the triggers on the concept table cost those who write it."""

from collections.abc import Callable, Iterator

from omop_emb.configuration import configure
from omop_emb.demo.cluster import Cluster
from tests.benchmarks.environment import DIMENSIONS, TEMPLATE, Options, concept_rows, connect, copy_in, seconds
from tests.benchmarks.figures import Figure, in_turn, ratio
from tests.benchmarks.progress import Progress

CONCEPTS = 100_000
ROUNDS = 9
LOAD_LIMIT = 2.5
UPDATE_LIMIT = 2.0
UPDATE = "UPDATE cdm.concept SET valid_end_date = valid_end_date - 1"


def run(cluster: Cluster, progress: Progress, _: Options) -> Iterator[Figure]:
    """Measure a load and an update of a column that is not indexed, with the triggers off and on in turn."""
    progress.step(f"preparing {CONCEPTS:,} concepts")
    cluster.create_database("triggers", template=TEMPLATE)
    rows = concept_rows(CONCEPTS)
    updates: dict[str, list[float]] = {"on": [], "off": []}
    jobs: list[int] = []
    with connect(cluster, "triggers") as connection:
        configure(connection, "bench", {"api_base": "http://127.0.0.1:9/v1", "model": "none", "dimensions": DIMENSIONS})
        # The mirror of the vocabulary is filled, as it is between two loads.
        copy_in(connection, "COPY cdm.concept FROM STDIN", rows)
        connection.execute("SELECT omop_emb.reconcile()")

        def load_then_update(switch: str) -> Callable[[int], float]:
            def run_once(_: int) -> float:
                connection.execute("ALTER TABLE cdm.concept DISABLE TRIGGER USER")
                connection.execute("TRUNCATE cdm.concept")
                connection.execute("DELETE FROM omop_emb.queue")
                if switch == "on":
                    connection.execute("ALTER TABLE cdm.concept ENABLE TRIGGER USER")
                connection.execute("CHECKPOINT")
                load = copy_in(connection, "COPY cdm.concept FROM STDIN", rows)
                queued = connection.execute("DELETE FROM omop_emb.queue").rowcount
                assert queued == (switch == "on")
                connection.execute("VACUUM ANALYZE cdm.concept")
                connection.execute("CHECKPOINT")
                updates[switch].append(seconds(connection, UPDATE))
                jobs.extend(connection.execute("SELECT count(*) FROM omop_emb.queue").fetchone() or ())
                return load

            return run_once

        loads = in_turn(
            {"off": load_then_update("off"), "on": load_then_update("on")},
            ROUNDS,
            lambda number: progress.step(f"round {number + 1} of {ROUNDS}: triggers off and on"),
        )
    yield ratio("triggers", f"load of {CONCEPTS:,} concepts, on / off", loads["on"], loads["off"], LOAD_LIMIT)
    yield ratio("triggers", "update of an unrelated column, on / off", updates["on"], updates["off"], UPDATE_LIMIT)
    yield Figure("triggers", "jobs queued by the update", max(jobs), "jobs", f"{len(jobs)} updates", 0)
