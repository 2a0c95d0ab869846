"""How many texts a second index brings from an endpoint that costs nothing into its table, and in what memory."""

from collections.abc import Iterator
from statistics import median

from omop_emb.demo.cluster import Cluster
from tests.benchmarks.endpoint import Endpoint
from tests.benchmarks.environment import connect, copy_in
from tests.benchmarks.figures import Figure, duration, in_turn
from tests.benchmarks.indexing.command import Phase, Run, index
from tests.benchmarks.indexing.database import copy_of, vectors_in
from tests.benchmarks.progress import Progress

TEXTS_PER_SECOND = 15_000
PART_OF_COPY = 1 / 3
PEAK_MEGABYTES = 300


def run(
    cluster: Cluster, progress: Progress, endpoint: Endpoint, templates: dict[int, str], rounds: int
) -> Iterator[Figure]:
    """Index databases of several sizes, and copy the rows of the largest, each time into a fresh database."""
    count = max(templates)
    runs: dict[int, list[Run]] = {size: [] for size in templates}
    rows: list[bytes] = []

    def embed(size: int) -> float:
        database = copy_of(cluster, templates[size], "indexed", endpoint.url)
        runs[size].append(index(cluster, database, until=Phase.BUILDING))
        assert vectors_in(cluster, database) == size
        return runs[size][-1].embedding

    def embed_then_read(_: int) -> float:
        taken = embed(count)
        with (
            connect(cluster, "indexed") as connection,
            connection.cursor().copy("COPY omop_emb.embedding_1 TO STDOUT BINARY") as copy_out,
        ):
            rows[:] = [b"".join(bytes(part) for part in copy_out)]
        return taken

    def copy(_: int) -> float:
        database = copy_of(cluster, templates[count], "copied", endpoint.url)
        with connect(cluster, database) as connection:
            return copy_in(connection, "COPY omop_emb.embedding_1 FROM STDIN BINARY", rows[0])

    for size in sorted(templates):
        # All are warm then, and the rows to copy are there.
        progress.step(f"indexing {size:,} texts")
        if size == count:
            embed_then_read(0)
        else:
            embed(size)
    times = in_turn(
        {"embed": embed_then_read, "copy": copy},
        rounds,
        lambda number: progress.step(f"round {number + 1} of {rounds}: {count:,} texts, indexed and copied"),
    )
    embedding, copying = median(times["embed"]), median(times["copy"])
    comparing = median(r.phases[Phase.COMPARING] for r in runs[count])
    yield Figure(
        "index",
        f"{count:,} texts, zero latency",
        count / embedding,
        "/s",
        f"embedded in {duration(embedding)}; what to embed found in {duration(comparing)} before that",
        TEXTS_PER_SECOND,
        more_is_better=True,
    )
    measured = f"{duration(embedding)} against {duration(copying)}"
    what = "the same / plain binary COPY of the same rows"
    yield Figure("index", what, copying / embedding, "", measured, PART_OF_COPY, more_is_better=True)
    for size, all_of in sorted(runs.items()):
        peak = max(r.peak_bytes for r in all_of) / 1e6
        yield Figure("index", f"most memory with {size:,} texts", peak, "MB", f"{len(all_of)} runs", PEAK_MEGABYTES)
