"""What a search costs and how much of the exact answer it finds, over real names with synthetic vectors."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from omop_emb.demo.cluster import Cluster
from tests.benchmarks.endpoint import running_endpoint
from tests.benchmarks.environment import Options, vectors
from tests.benchmarks.figures import Figure
from tests.benchmarks.progress import Progress
from tests.benchmarks.search import batch, growth, recall, warm
from tests.benchmarks.search.database import QUERY_SEED, QUERY_VECTORS, Setup
from tests.benchmarks.texts import queries

SIZES = (10_000, 100_000, 256_000)
LARGE = 1_000_000
RECALL_SIZES = (100_000, 256_000)
BUILDS_AT_ONCE = 2


def run(cluster: Cluster, progress: Progress, options: Options) -> Iterator[Figure]:
    """Build a database per size, all of which stay, then measure."""
    sizes = (*SIZES, LARGE) if options.large else SIZES
    with running_endpoint(QUERY_VECTORS, seed=QUERY_SEED) as endpoint:
        setup = Setup(cluster, endpoint.url, queries(), vectors(QUERY_VECTORS, QUERY_SEED))
        progress.step(f"loading and indexing {', '.join(f'{size:,}' for size in sizes)} concepts")
        builders = ThreadPoolExecutor(BUILDS_AT_ONCE)
        try:
            building = dict(zip(sizes[::-1], builders.map(setup.build, sizes[::-1]), strict=True))
        finally:
            # Not waited for: after Ctrl-C they end with the server.
            builders.shutdown(wait=False, cancel_futures=True)
        for size in sizes:
            progress.say(f"indexes of {size:,} concepts: built in {building[size]:.0f} s")
        yield from warm.run(setup, progress)
        for size in RECALL_SIZES:
            yield from recall.run(setup, progress, size)
        yield from batch.run(setup, progress)
        yield from growth.run(setup, progress, sizes, options.plot)
