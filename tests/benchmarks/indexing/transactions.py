"""How long the transactions of index are, as another session sees them."""

from collections.abc import Iterator, Sequence

from omop_emb.demo.cluster import Cluster
from tests.benchmarks.endpoint import Endpoint
from tests.benchmarks.environment import connect
from tests.benchmarks.figures import Figure, duration
from tests.benchmarks.indexing.command import Phase, index
from tests.benchmarks.indexing.database import copy_of
from tests.benchmarks.progress import Progress

LIMIT_MS = 100
SECONDS_BETWEEN_SAMPLES = 0.003
# So many concepts of an indexed database are there a second time, as new ones.
ONE_IN = 100

ADD = """
    INSERT INTO cdm.concept
    SELECT concept_id + 1000000000, left(concept_name, 240) || ', added', domain_id, vocabulary_id, concept_class_id,
        standard_concept, concept_code, valid_start_date, valid_end_date, invalid_reason
    FROM cdm.concept WHERE concept_id %% %s = 0"""


def run(
    cluster: Cluster, progress: Progress, fresh: Sequence[tuple[str, str, Endpoint]], indexed: str
) -> Iterator[Figure]:
    """Fill empty tables, and one that has HNSW indexes, from endpoints of different latency."""
    for latency, template, endpoint in fresh:
        for source, state in ((template, "no HNSW index yet"), (indexed, "HNSW indexes there")):
            progress.step(f"transactions: latency {latency}, {state}")
            database = copy_of(cluster, source, "watched", endpoint.url)
            if source == indexed:
                with connect(cluster, database) as connection:
                    connection.execute(ADD, [ONE_IN])
            before = endpoint.texts
            run = index(cluster, database, until=Phase.BUILDING, seconds_between_samples=SECONDS_BETWEEN_SAMPLES)
            texts = endpoint.texts - before
            longest, query = run.longest.get(Phase.EMBEDDING, (0.0, ""))
            comparing, _ = run.longest.get(Phase.COMPARING, (0.0, ""))
            measured = (
                f"{query[:50]}...; {texts:,} texts in {duration(run.embedding)}; before that, one of"
                f" {duration(comparing)} found what to embed"
            )
            what = f"longest transaction, latency {latency}, {state}"
            yield Figure("index", what, longest * 1000, "ms", measured, LIMIT_MS)
