"""Databases of different sizes with real names, synthetic vectors and the columns that users filter by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import sql

from omop_emb.configuration import configure
from omop_emb.demo.cluster import Cluster
from omop_emb.embedder import DOCUMENT_PREFIX, MODEL, QUERY_PREFIX
from tests.benchmarks.environment import (
    CLUSTERS,
    DIMENSIONS,
    TEMPLATE,
    Vectors,
    centres,
    cluster_numbers,
    connect,
    copy_in,
    escaped,
    fill,
    seconds,
    vector_number,
)
from tests.benchmarks.texts import names

QUERY_VECTORS = 1000
QUERIES = 100
VOCABULARIES = 5
DOCUMENT_SEED, QUERY_SEED, FILTER_SEED = 1, 2, 3

# Of concepts, by their class; the rest are in another one.
SHARES_OF_CLASSES = {"10 %": 0.1, "1 %": 0.01, "0.1 %": 0.001}


@dataclass(frozen=True)
class Setup:
    """What all figures share: the server, the texts to search for, and the vectors that the endpoint has for them."""

    cluster: Cluster
    url: str
    texts: Sequence[str]
    query_vectors: Vectors

    def vectors_of(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors, (texts, DIMENSIONS), that the endpoint gives queries."""
        numbers = [vector_number(QUERY_PREFIX + text, len(self.query_vectors)) for text in texts]
        result: Vectors = self.query_vectors[np.array(numbers)]
        return result

    def literal(self, text: str) -> str:
        """Return that vector as SQL."""
        return "'[" + ",".join(map(repr, self.vectors_of([text])[0].tolist())) + "]'"

    def build(self, count: int) -> float:
        """Make the database of so many concepts, indexed; returns the seconds that building the indexes takes."""
        database = database_name(count)
        self.cluster.create_database(database, template=TEMPLATE)
        with connect(self.cluster, database) as connection:
            settings = {
                "api_base": self.url,
                "model": MODEL,
                "dimensions": DIMENSIONS,
                "document_prefix": DOCUMENT_PREFIX,
                "query_prefix": QUERY_PREFIX,
                # Half of the concepts have a domain, for which there may be an index or not.
                "partial_indexes": ["vocabulary_id"],
            }
            configure(connection, "bench", settings)
            copy_in(connection, "COPY cdm.concept FROM STDIN", concept_rows(count))
            connection.execute("SELECT omop_emb.begin_index('bench')")
            fill(connection, count, DOCUMENT_SEED)
            connection.execute("SELECT omop_emb.begin_index('bench')")
            building = seconds(connection, "SELECT omop_emb.finish_index('bench')")
            connection.execute("VACUUM ANALYZE")
            return building

    def session(self, count: int, settings: str = "") -> psycopg.Connection:
        """Open a session in the database of so many concepts."""
        connection = connect(self.cluster, database_name(count))
        connection.execute(settings or "SELECT")
        return connection


def database_name(count: int) -> str:
    """Return the name of the database of so many concepts."""
    return f"search_{count}"


def vocabulary_of_cluster() -> npt.NDArray[np.int64]:
    """Return (CLUSTERS,) numbers of vocabularies: each has a fifth of the clusters, those that lie on one side."""
    order = np.argsort(centres()[:, 0])
    result = np.empty(CLUSTERS, dtype=np.int64)
    result[order] = np.arange(CLUSTERS) * VOCABULARIES // CLUSTERS
    return result


def concept_rows(count: int) -> bytes:
    """Return concepts as COPY reads them: domain and class at random, the vocabulary by the cluster of the vector."""
    generator = np.random.default_rng(FILTER_SEED)
    domains = np.where(generator.random(count) < 0.5, "Condition", "Drug")
    drawn = generator.random(count)
    classes = np.full(count, "other", dtype=object)
    start = 0.0
    for name, share in SHARES_OF_CLASSES.items():
        classes[(start <= drawn) & (drawn < start + share)] = name
        start += share
    vocabularies = vocabulary_of_cluster()[cluster_numbers(count, DOCUMENT_SEED)]
    lines = [
        f"{i}\t{escaped(name)}\t{domain}\tVocabulary {vocabulary}\t{concept_class}\t{'S' if i % 4 else chr(92) + 'N'}"
        f"\tC{i}\t1970-01-01\t2099-12-31\t\\N\n"
        for i, (name, domain, vocabulary, concept_class) in enumerate(
            zip(names(count), domains, vocabularies, classes, strict=True), start=1
        )
    ]
    return "".join(lines).encode()


def search(text: str, mode: str = "semantic", arguments: str = "", columns: str = "*") -> str:
    """Return a search for a text, as psql sends it."""
    more = f", {arguments}" if arguments else ""
    return f"SELECT {columns} FROM omop_emb_search({quoted(text)}, k => 10, mode => '{mode}'{more})"


def quoted(text: str) -> str:
    """Return a text as SQL."""
    return sql.Literal(text).as_string(None)


def mean_seconds(connection: psycopg.Connection, statement: Callable[[str], str], texts: Sequence[str]) -> float:
    """Return the mean seconds of the statement for the texts; see ``times``."""
    return sum(times(connection, statement, texts)) / len(texts)


def times(connection: psycopg.Connection, statement: Callable[[str], str], texts: Sequence[str]) -> list[float]:
    """Return the seconds of the statement for each text, when all have been asked once before.

    No text comes twice in a row, since what it needs would still be in the processor's caches.
    """
    for text in texts:
        seconds(connection, statement(text))
    return [seconds(connection, statement(text)) for text in texts]


def answers(connection: psycopg.Connection, statements: Sequence[str]) -> tuple[list[float], list[set[int]]]:
    """Return the seconds and the concept ids of each statement."""
    taken: list[float] = []
    found: list[set[int]] = []
    for statement in statements:
        started = perf_counter()
        rows = connection.execute(statement).fetchall()
        taken.append(perf_counter() - started)
        found.append({row[0] for row in rows})
    return taken, found
