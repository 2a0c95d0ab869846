"""How much longer a warm search takes than the bare pgvector statement with the vector as a literal."""

from collections.abc import Callable, Iterator

import psycopg
from pgvector import Vector
from pgvector.psycopg import register_vector

from omop_emb.configuration import configure
from omop_emb.demo.cluster import Cluster
from tests.benchmarks.endpoint import running_endpoint
from tests.benchmarks.environment import DIMENSIONS, TEMPLATE, concept_rows, connect, copy_in, seconds, vectors
from tests.benchmarks.figures import Figure, in_turn, ratio
from tests.benchmarks.progress import Progress

CONCEPTS = 100_000
QUERIES = 100
ROUNDS = 11
LIMIT = 1.5
EF_SEARCH = 100


def run(cluster: Cluster, progress: Progress) -> Iterator[Figure]:
    """Measure with query vectors that the session already knows."""
    cluster.create_database("search", template=TEMPLATE)
    with running_endpoint(QUERIES, seed=2) as url, connect(cluster, "search") as connection:
        register_vector(connection)
        settings = {"api_base": url, "model": "synthetic", "dimensions": DIMENSIONS, "hnsw_ef_search": EF_SEARCH}
        configure(connection, "bench", settings)
        progress.step(f"loading {CONCEPTS:,} vectors")
        fill(connection)
        progress.step("building the HNSW index")
        connection.execute("SELECT omop_emb.finish_index('bench')")
        connection.execute("VACUUM ANALYZE")
        times = in_turn(variants(cluster), ROUNDS, lambda number: progress.step(f"round {number + 1} of {ROUNDS}"))
    search, bare = times["search"], times["bare"]
    yield ratio("search", f"search / bare pgvector at ef_search {EF_SEARCH}, synonyms off", times["names"], bare, LIMIT)
    yield ratio("search", f"search / bare pgvector at ef_search {EF_SEARCH}, synonyms on", search, bare, LIMIT)
    yield ratio("search", "search / bare pgvector at its default ef_search 40", search, times["default"])
    yield ratio("search", "search in half of the concepts / bare pgvector", times["half"], bare)
    yield ratio("search", "search in half of the concepts / the same joins by hand", times["half"], times["joined"])


def fill(connection: psycopg.Connection) -> None:
    """Store concepts, their names as terms and a vector for each, without the model and without the index."""
    copy_in(connection, "COPY cdm.concept FROM STDIN", concept_rows(CONCEPTS))
    connection.execute("SELECT omop_emb.reconcile()")
    hashes = connection.execute("SELECT text_hash FROM omop_emb.term ORDER BY concept_id").fetchall()
    statement = "COPY omop_emb.embedding_1 (text_hash, embedding) FROM STDIN (FORMAT BINARY)"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(["bytea", "vector"])
        for (text_hash,), vector in zip(hashes, vectors(CONCEPTS, seed=1), strict=True):
            copy.write_row((text_hash, Vector(vector)))


def variants(cluster: Cluster) -> dict[str, Callable[[int], float]]:
    """Return the statements to compare, as functions that run them for each query and return the mean seconds.

    Each time that is a session of its own, warmed up with the same queries. No query comes twice in a row, since
    what it needs would still be in the processor's caches.
    """
    literals = ["[" + ",".join(map(repr, row)) + "]" for row in vectors(QUERIES, seed=2).tolist()]

    def timed(statement: Callable[[int], str], ef_search: int = EF_SEARCH, iterative_scan: str = "off") -> float:
        with connect(cluster, "search") as connection:
            connection.execute(f"SET hnsw.ef_search = {ef_search}; SET hnsw.iterative_scan = {iterative_scan}")
            for _ in range(2):
                took = [seconds(connection, statement(number)) for number in range(QUERIES)]
        return sum(took) / QUERIES

    def bare(number: int) -> str:
        return (
            "SELECT e.text_hash FROM omop_emb.embedding_1 e WHERE e.live"
            f" ORDER BY e.embedding <=> '{literals[number]}' LIMIT 10"
        )

    def joined(number: int) -> str:
        return (
            "SELECT m.concept_id, m.concept_name FROM omop_emb.embedding_1 e JOIN omop_emb.term t USING (text_hash)"
            " JOIN omop_emb.concept m USING (concept_id) WHERE e.live AND m.domain_id = 'Condition'"
            f" ORDER BY e.embedding <=> '{literals[number]}' LIMIT 10"
        )

    def search(number: int) -> str:
        return f"SELECT * FROM omop_emb_search('query {number}', k => 10)"

    def without_synonyms() -> float:
        with connect(cluster, "search") as connection:
            connection.execute("UPDATE omop_emb.config SET synonyms = false")
            try:
                return timed(search)
            finally:
                connection.execute("UPDATE omop_emb.config SET synonyms = true")

    def half(number: int) -> str:
        return f"SELECT * FROM omop_emb_search('query {number}', k => 10, domains => '{{Condition}}')"

    return {
        "bare": lambda _: timed(bare),
        "search": lambda _: timed(search),
        "names": lambda _: without_synonyms(),
        "default": lambda _: timed(bare, ef_search=40),
        "half": lambda _: timed(half),
        "joined": lambda _: timed(joined, iterative_scan="relaxed_order"),
    }
