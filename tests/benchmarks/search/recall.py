"""How much of the exact answer a filtered search finds, and in what time."""

from collections.abc import Callable, Iterator
from statistics import median

import numpy as np

from tests.benchmarks.environment import Vectors, centres
from tests.benchmarks.figures import Figure, duration
from tests.benchmarks.progress import Progress
from tests.benchmarks.search.database import (
    QUERIES,
    SHARES_OF_CLASSES,
    VOCABULARIES,
    Setup,
    answers,
    search,
    vocabulary_of_cluster,
)

ROUNDS = 2
EVERYTHING = "everything"
UNFILTERED_LIMIT = 0.98
FILTERED_LIMIT = 0.95
# The time of a filtered search, in those of an unfiltered one.
TIMES_UNFILTERED = 10

# The argument of the search and the condition by hand, for a text.
Filter = Callable[[str], tuple[str, str]]


def filters(setup: Setup) -> dict[str, Filter]:
    """Return the filters by what they keep."""
    texts = setup.texts[:QUERIES]
    far = dict(zip(texts, farthest_vocabularies(setup.vectors_of(texts)), strict=True))

    def fixed(argument: str, column: str, value: str) -> Filter:
        return lambda _: (f"{argument} => '{{{value}}}'", f"m.{column} = '{value}'")

    def adversarial(*others: str) -> Filter:
        return lambda text: (
            f"vocabularies => '{{{','.join([far[text], *others])}}}'",
            f"m.vocabulary_id = '{far[text]}'",
        )

    return {
        EVERYTHING: lambda _: ("", "true"),
        "50 % at random (a domain)": fixed("domains", "domain_id", "Condition"),
        **{
            f"{name} at random (a class)": fixed("concept_classes", "concept_class_id", name)
            for name in SHARES_OF_CLASSES
        },
        "20 % of the clusters, none near the query (a vocabulary, partial index)": adversarial(),
        # Partial indexes are for a single value.
        "20 % of the clusters, none near the query (no partial index)": adversarial("None of these"),
    }


def farthest_vocabularies(queries: Vectors) -> list[str]:
    """Return for each query the vocabulary whose nearest cluster is the farthest from it."""
    towards = centres() / np.linalg.norm(centres(), axis=1, keepdims=True)
    similarities = queries @ towards.T
    vocabularies = vocabulary_of_cluster()
    nearest = np.stack([similarities[:, vocabularies == v].max(axis=1) for v in range(VOCABULARIES)], axis=1)
    return [f"Vocabulary {v}" for v in nearest.argmin(axis=1)]


def run(setup: Setup, progress: Progress, count: int) -> Iterator[Figure]:
    """Compare the concepts found with those of an exact scan by hand, which the index cannot answer."""
    texts = setup.texts[:QUERIES]
    searching: dict[str, list[float]] = {}
    scanning: dict[str, list[float]] = {}
    recall: dict[str, float] = {}
    chosen = filters(setup)
    for number in range(ROUNDS):
        for keeps, of in chosen.items():
            progress.step(f"recall at {count:,}, round {number + 1} of {ROUNDS}: {keeps}")
            statements = [search(text, arguments=of(text)[0], columns="concept_id") for text in texts]
            with setup.session(count) as connection:
                # The first time each vector is asked for.
                answers(connection, statements)
                times, found = answers(connection, statements)
            searching.setdefault(keeps, []).append(median(times))
            # The exact answer does not change, and the time of a scan of everything is not compared.
            if number == 0 or keeps != EVERYTHING:
                statements = [by_hand(setup, text, of(text)[1]) for text in texts]
                with setup.session(count, "SET jit = off") as connection:
                    times, exact = answers(connection, statements)
                scanning.setdefault(keeps, []).append(median(times))
            if number == 0:
                recall[keeps] = sum(len(a & b) / len(b) for a, b in zip(found, exact, strict=True)) / len(texts)
    unfiltered = median(searching["everything"])
    for keeps in chosen:
        took, exactly = median(searching[keeps]), median(scanning[keeps])
        what = f"recall@10 at {count:,}, synthetic clusters; the filter keeps {keeps}"
        limit = UNFILTERED_LIMIT if keeps == EVERYTHING else FILTERED_LIMIT
        measured = f"{QUERIES} queries, p50 {duration(took)}, exact by hand {duration(exactly)}"
        yield Figure("search", what, recall[keeps], "", measured, limit, more_is_better=True)
        if keeps != EVERYTHING:
            what = f"its time / the lesser of {TIMES_UNFILTERED} x unfiltered and exact by hand"
            allowed = min(TIMES_UNFILTERED * unfiltered, exactly)
            yield Figure("search", what, took / allowed, "x", f"{duration(took)} against {duration(allowed)}", 1)


def by_hand(setup: Setup, text: str, condition: str) -> str:
    """Return the same as plain SQL, in an order that no index has."""
    return (
        "SELECT m.concept_id FROM omop_emb.embedding_1 e JOIN omop_emb.term t USING (text_hash)"
        f" JOIN omop_emb.concept m USING (concept_id) WHERE e.live AND {condition}"
        f" ORDER BY (e.embedding <=> {setup.literal(text)}) + 0 LIMIT 10"
    )
