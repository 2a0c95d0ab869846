"""What it costs to index a vocabulary, and to keep up with it."""

from collections.abc import Iterator

from omop_emb.demo.cluster import Cluster
from omop_emb.embedder import DOCUMENT_PREFIX, MODEL, QUERY_PREFIX
from tests.benchmarks.endpoint import running_endpoint
from tests.benchmarks.environment import Options
from tests.benchmarks.figures import Figure
from tests.benchmarks.indexing import refresh, throughput, transactions, utilisation, workers
from tests.benchmarks.indexing.database import load
from tests.benchmarks.model import running_model
from tests.benchmarks.progress import Progress
from tests.benchmarks.texts import names

TEXTS, FEWER_TEXTS, MODEL_TEXTS = 100_000, 20_000, 2_000
CONCEPTS = 256_631
ROUNDS = 3
LATENCY = 0.05
SLOW_LIMIT, MODEL_LIMIT = 0.9, 0.95


def run(cluster: Cluster, progress: Progress, options: Options) -> Iterator[Figure]:
    """Load the texts once, then index copies of that; the endpoints stay."""
    scale, rounds = (5, 1) if options.quick else (1, ROUNDS)
    texts, fewer, of_model = TEXTS // scale, FEWER_TEXTS // scale, MODEL_TEXTS // scale
    with running_endpoint(fewer, seed=2) as fast, running_endpoint(fewer, seed=2, latency=LATENCY) as slow:
        progress.step(f"loading {texts:,} and {fewer:,} concepts")
        load(cluster, "many", names(texts), {"api_base": fast.url})
        load(cluster, "few", names(fewer), {"api_base": fast.url})
        yield from throughput.run(cluster, progress, fast, {fewer: "few", texts: "many"}, rounds)
        what = f"latency {LATENCY * 1000:.0f} ms"
        yield utilisation.run(cluster, progress, what, "many", slow.url, names(texts), SLOW_LIMIT, rounds)
        yield workers.run(cluster, progress, "many", slow.url, texts, what, rounds)
        with running_model() as url:
            settings = {
                "api_base": url, "model": MODEL, "document_prefix": DOCUMENT_PREFIX, "query_prefix": QUERY_PREFIX
            }  # fmt: skip
            load(cluster, "modelled", names(of_model), settings)
            yield utilisation.run(
                cluster, progress, "bundled model", "modelled", url, names(of_model), MODEL_LIMIT, rounds
            )
        concepts = CONCEPTS // scale**2
        progress.step(f"building the HNSW indexes of {concepts:,} texts")
        building = refresh.prepare(cluster, fast, concepts)
        measured = "the whole table's, and those of domains and vocabularies"
        yield Figure("index", f"HNSW indexes of {concepts:,} texts", building, "s", measured)
        fresh = [("0 ms", "many", fast), (f"{LATENCY * 1000:.0f} ms", "few", slow)]
        yield from transactions.run(cluster, progress, fresh, refresh.DATABASE)
        yield from refresh.run(cluster, progress, fast, rounds, concepts)
