"""What it costs to have search right again after a refresh of the vocabulary that changes few names."""

import time
from collections.abc import Iterator
from itertools import pairwise
from statistics import median

import psycopg

from omop_emb.demo.cluster import Cluster
from omop_emb.vocabulary.tables import create_indexes, create_tables
from tests.benchmarks.endpoint import Endpoint
from tests.benchmarks.environment import connect, copy_in, vectors
from tests.benchmarks.figures import Figure, duration, in_turn, ratio
from tests.benchmarks.indexing.command import Phase, Run, index
from tests.benchmarks.indexing.database import LOAD, build, concept_rows, load
from tests.benchmarks.progress import Progress
from tests.benchmarks.texts import LONGEST_NAME, names

ONE_IN = 100
TIMES_PLAIN = 2.5
DATABASE, PLAIN = "refreshed", "plain"


def prepare(cluster: Cluster, endpoint: Endpoint, count: int) -> float:
    """Make a database that is indexed, and one without the package; returns the seconds of the HNSW builds."""
    original = names(count)
    load(cluster, DATABASE, original, {"api_base": endpoint.url})
    cluster.create_database(PLAIN)
    with connect(cluster, PLAIN) as connection, connection.transaction():
        connection.execute("CREATE SCHEMA cdm")
        create_tables(connection, "cdm")
        copy_in(connection, LOAD, concept_rows(original))
    for database in (DATABASE, PLAIN):
        with connect(cluster, database) as connection, connection.transaction():
            create_indexes(connection, "cdm", "concept")
    return build(cluster, DATABASE, count, seed=1).phases[Phase.BUILDING]


def run(cluster: Cluster, progress: Progress, endpoint: Endpoint, rounds: int, count: int) -> Iterator[Figure]:
    """Refresh both in turn, each time with other names changed."""
    versions = changed_names(names(count), rounds)
    rows = [concept_rows(version) for version in versions[1:]]
    copies: list[float] = []
    runs: list[Run] = []
    sent: list[int] = []

    def refresh(number: int) -> float:
        before = endpoint.texts
        with connect(cluster, DATABASE) as connection:
            copies.append(replace(connection, rows[number]))
        runs.append(index(cluster, DATABASE))
        sent.append(endpoint.texts - before)
        with connect(cluster, DATABASE) as connection:
            left = connection.execute("SELECT pending, stale FROM omop_emb.status").fetchone()
        assert left == (0, 0), left
        return copies[-1] + runs[-1].seconds

    def refresh_plain(number: int) -> float:
        with connect(cluster, PLAIN) as connection:
            return replace(connection, rows[number])

    times = in_turn(
        {"plain": refresh_plain, "indexed": refresh},
        rounds,
        lambda number: progress.step(f"refresh, round {number + 1} of {rounds}"),
    )
    new = [len(set(after) - set(before)) for before, after in pairwise(versions)]
    measured = f"{sent} texts sent, {new} names changed, of {count:,}"
    wrong = sum(abs(texts - changed) for texts, changed in zip(sent, new, strict=True))
    yield Figure("index", "refresh: texts sent that had not changed, or not sent that had", wrong, "texts", measured, 0)
    yield ratio(
        "index", "refresh until search is right / without the package", times["indexed"], times["plain"], TIMES_PLAIN
    )
    yield from parts(cluster, median(copies), runs, max(new))


def parts(cluster: Cluster, copying: float, runs: list[Run], texts: int) -> Iterator[Figure]:
    """Say what the time of a refresh went into."""
    by_phase = {phase: median(r.phases.get(phase, 0.0) for r in runs) for phase in Phase}
    rest = median(r.seconds - sum(r.phases.values()) for r in runs)
    inserting = hnsw_seconds(cluster, texts)
    for what, seconds, measured in (
        ("TRUNCATE and COPY", copying, "with the triggers"),
        ("finding what changed", by_phase[Phase.COMPARING], "begin_index"),
        ("embedding", by_phase[Phase.EMBEDDING], f"HNSW maintenance alone takes {duration(inserting)} of it"),
        ("looking after the indexes", by_phase[Phase.BUILDING], "nothing to build; then what remains is counted"),
        ("the program's start and end", rest, ""),
    ):
        yield Figure("index", f"refresh, of this: {what}", seconds, "s", measured)


def hnsw_seconds(cluster: Cluster, texts: int) -> float:
    """Return what it takes to put so many new vectors into the HNSW indexes, above storing them."""
    taken = {}
    for live in (True, False):
        with connect(cluster, DATABASE) as connection, connection.transaction(force_rollback=True):
            connection.execute(
                "CREATE TEMPORARY TABLE given ON COMMIT DROP AS SELECT sha256(text_hash) AS text_hash, domains,"
                " vocabularies FROM omop_emb.embedding_1 WHERE live ORDER BY text_hash LIMIT %s",
                [texts],
            )
            connection.execute("CREATE TEMPORARY TABLE made (n serial, embedding vector) ON COMMIT DROP")
            with connection.cursor().copy("COPY made (embedding) FROM STDIN") as copy:
                for vector in vectors(texts, seed=3):
                    copy.write_row([str(vector.tolist())])
            started = time.perf_counter()
            connection.execute(
                "INSERT INTO omop_emb.embedding_1 (text_hash, domains, vocabularies, embedding, live)"
                " SELECT g.text_hash, g.domains, g.vocabularies, m.embedding, %s"
                " FROM (SELECT *, row_number() OVER () AS n FROM given) g JOIN made m USING (n)",
                [live],
            )
            taken[live] = time.perf_counter() - started
    return taken[True] - taken[False]


def replace(connection: psycopg.Connection, rows: bytes) -> float:
    """Return the seconds in which all concepts are replaced, in one transaction."""
    connection.execute("CHECKPOINT")
    started = time.perf_counter()
    with connection.transaction():
        connection.execute("TRUNCATE cdm.concept")
        copy_in(connection, LOAD, rows)
    return time.perf_counter() - started


def changed_names(original: list[str], versions: int) -> list[list[str]]:
    """Return the names and further versions of them, in each of which other names have changed, to ones never seen."""
    result = [original]
    for number in range(versions):
        mark = f" (revision {number + 1})"
        result.append(
            [
                name[: LONGEST_NAME - len(mark)] + mark if i % ONE_IN == number else name
                for i, name in enumerate(result[-1])
            ]
        )
    return result
