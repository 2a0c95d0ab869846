"""How much longer a warm search takes than the bare pgvector statement with the vector as a literal."""

from collections.abc import Callable, Iterator

from tests.benchmarks.figures import Figure, in_turn, ratio
from tests.benchmarks.progress import Progress
from tests.benchmarks.search.database import QUERIES, Setup, mean_seconds, search

CONCEPTS = 100_000
ROUNDS = 9
SEMANTIC_LIMIT = 1.25
HYBRID_LIMIT = 4.0


def run(setup: Setup, progress: Progress) -> Iterator[Figure]:
    """Measure with query vectors that are remembered, in a session of its own each time."""
    texts = setup.texts[:QUERIES]
    with setup.session(CONCEPTS) as connection:
        row = connection.execute("SELECT hnsw_ef_search FROM omop_emb.config").fetchone()
    ef_search = row[0] if row else 0

    def timed(statement: Callable[[str], str], settings: str = "") -> Callable[[int], float]:
        def run_once(_: int) -> float:
            with setup.session(CONCEPTS, settings) as connection:
                return mean_seconds(connection, statement, texts)

        return run_once

    def without_synonyms(number: int) -> float:
        with setup.session(CONCEPTS) as connection:
            connection.execute("UPDATE omop_emb.config SET synonyms = false")
            try:
                return timed(search)(number)
            finally:
                connection.execute("UPDATE omop_emb.config SET synonyms = true")

    def bare(text: str) -> str:
        return (
            "SELECT e.text_hash FROM omop_emb.embedding_1 e WHERE e.live"
            f" ORDER BY e.embedding <=> {setup.literal(text)} LIMIT 10"
        )

    def joined(text: str) -> str:
        return (
            "SELECT m.concept_id, m.concept_name FROM omop_emb.embedding_1 e JOIN omop_emb.term t USING (text_hash)"
            " JOIN omop_emb.concept m USING (concept_id) WHERE e.live AND m.domain_id = 'Condition'"
            f" ORDER BY e.embedding <=> {setup.literal(text)} LIMIT 10"
        )

    same_ef = f"SET hnsw.ef_search = {ef_search};"
    times = in_turn(
        {
            "bare": timed(bare, same_ef),
            "semantic": timed(search),
            "names": without_synonyms,
            "hybrid": timed(lambda text: search(text, "hybrid")),
            "half": timed(lambda text: search(text, arguments="domains => '{Condition}'")),
            "joined": timed(joined, same_ef + "SET hnsw.iterative_scan = relaxed_order"),
        },
        ROUNDS,
        lambda number: progress.step(f"warm, round {number + 1} of {ROUNDS}"),
    )
    with setup.session(CONCEPTS) as connection:
        # Changed settings queue what an index run has to look at; partial indexes wait for it.
        connection.execute("SELECT omop_emb.begin_index('bench')")
    base = times["bare"]
    of = f"bare pgvector at ef_search {ef_search}, {CONCEPTS:,} concepts"
    yield ratio("search", f"warm semantic search, synonyms on / {of}", times["semantic"], base, SEMANTIC_LIMIT)
    yield ratio("search", "the same, synonyms off", times["names"], base, SEMANTIC_LIMIT)
    yield ratio("search", "warm hybrid search, real texts and names / the same", times["hybrid"], base, HYBRID_LIMIT)
    yield ratio("search", "warm semantic search in half of the concepts / the same", times["half"], base)
    yield ratio("search", "warm semantic search in half / the same joins by hand", times["half"], times["joined"])
