"""What the triggers on the concept table cost those who write it."""

from collections.abc import Callable, Iterator

from omop_emb.configuration import configure
from omop_emb.demo.cluster import Cluster
from tests.benchmarks.environment import DIMENSIONS, TEMPLATE, Options, concept_rows, connect, copy_in, seconds
from tests.benchmarks.figures import Figure, in_turn, ratio
from tests.benchmarks.progress import Progress

CONCEPTS = 200_000
ROUNDS = 9
INSERT_LIMIT = 2.0
UPDATE_LIMIT = 1.7
INSERT = "INSERT INTO cdm.concept SELECT * FROM loaded"
UPDATE = "UPDATE cdm.concept SET valid_end_date = valid_end_date - 1"


def run(cluster: Cluster, progress: Progress, _: Options) -> Iterator[Figure]:
    """Measure an insert and an update of a column that is not indexed, with the triggers off and on in turn."""
    progress.step(f"preparing {CONCEPTS:,} concepts")
    cluster.create_database("triggers", template=TEMPLATE)
    updates: dict[str, list[float]] = {"on": [], "off": []}
    jobs: list[int] = []
    with connect(cluster, "triggers") as connection:
        configure(connection, "bench", {"api_base": "http://127.0.0.1:9/v1", "model": "none", "dimensions": DIMENSIONS})
        # The mirror of the vocabulary is filled, as it is between two loads.
        copy_in(connection, "COPY cdm.concept FROM STDIN", concept_rows(CONCEPTS))
        connection.execute("SELECT omop_emb.reconcile()")
        connection.execute("CREATE UNLOGGED TABLE loaded AS SELECT * FROM cdm.concept")

        def insert_then_update(switch: str) -> Callable[[int], float]:
            def run_once(_: int) -> float:
                connection.execute("ALTER TABLE cdm.concept DISABLE TRIGGER USER")
                connection.execute("TRUNCATE cdm.concept")
                connection.execute("DELETE FROM omop_emb.queue")
                if switch == "on":
                    connection.execute("ALTER TABLE cdm.concept ENABLE TRIGGER USER")
                connection.execute("CHECKPOINT")
                inserted = seconds(connection, INSERT)
                queued = connection.execute("DELETE FROM omop_emb.queue").rowcount
                assert queued == (switch == "on")
                connection.execute("VACUUM ANALYZE cdm.concept")
                connection.execute("CHECKPOINT")
                updates[switch].append(seconds(connection, UPDATE))
                jobs.extend(connection.execute("SELECT count(*) FROM omop_emb.queue").fetchone() or ())
                return inserted

            return run_once

        inserts = in_turn(
            {"off": insert_then_update("off"), "on": insert_then_update("on")},
            ROUNDS,
            lambda number: progress.step(f"round {number + 1} of {ROUNDS}: triggers off and on"),
        )
    yield ratio("triggers", f"INSERT of {CONCEPTS:,} concepts, on / off", inserts["on"], inserts["off"], INSERT_LIMIT)
    yield ratio("triggers", "update of an unrelated column, on / off", updates["on"], updates["off"], UPDATE_LIMIT)
    yield Figure("triggers", "jobs queued by the update", max(jobs), "jobs", f"{len(jobs)} updates", 0)
