"""Databases with real names, in domains and vocabularies as large as real ones, before and after they are indexed."""

from collections.abc import Mapping, Sequence

import numpy as np

from omop_emb.configuration import configure
from omop_emb.demo.cluster import Cluster
from tests.benchmarks.environment import DIMENSIONS, TEMPLATE, connect, copy_in, escaped, fill
from tests.benchmarks.indexing.command import Run, index

CONFIG = "bench"
SYNTHETIC = {"model": "synthetic", "dimensions": DIMENSIONS}
LOAD = "COPY cdm.concept FROM STDIN"

# The domain and the share of the concepts, by vocabulary: which of these get an HNSW index of their own depends on it.
VOCABULARIES = {
    "ICD10CM": ("Condition", 0.38),
    "ICD10PCS": ("Procedure", 0.31),
    "Mondo": ("Condition", 0.11),
    "HPO": ("Condition", 0.07),
    "UBERON": ("Spec Anatomic Site", 0.06),
    "ICD9CM": ("Condition", 0.055),
    "ICD9Proc": ("Procedure", 0.015),
}


def concept_rows(names: Sequence[str]) -> bytes:
    """Return a concept per name as COPY reads them; the rest of a concept depends on its number alone."""
    shares = [share for _, share in VOCABULARIES.values()]
    drawn = np.random.default_rng(0).choice(list(VOCABULARIES), size=len(names), p=shares)
    lines = [
        f"{i}\t{escaped(name)}\t{VOCABULARIES[vocabulary][0]}\t{vocabulary}\tSynthetic\tS\tC{i}"
        "\t1970-01-01\t2099-12-31\t\\N\n"
        for i, (name, vocabulary) in enumerate(zip(names, drawn, strict=True), start=1)
    ]
    return "".join(lines).encode()


def load(cluster: Cluster, database: str, names: Sequence[str], settings: Mapping[str, object]) -> None:
    """Make a database with a configuration and a concept per name, none of them indexed."""
    cluster.create_database(database, template=TEMPLATE)
    with connect(cluster, database) as connection:
        configure(connection, CONFIG, {**SYNTHETIC, **settings})
        copy_in(connection, LOAD, concept_rows(names))


def build(cluster: Cluster, database: str, count: int, seed: int) -> Run:
    """Give each of ``count`` concepts a vector of its own, without a model, and let index build the HNSW indexes."""
    with connect(cluster, database) as connection:
        connection.execute("SELECT omop_emb.reconcile()")
        fill(connection, count, seed)
        connection.execute("SELECT omop_emb.reconcile()")
        connection.execute("DELETE FROM omop_emb.job")
    run = index(cluster, database)
    with connect(cluster, database) as connection:
        connection.execute("VACUUM ANALYZE")
    return run


def copy_of(cluster: Cluster, template: str, database: str, url: str) -> str:
    """Make a database anew as a copy of another one, with this endpoint; returns its name."""
    cluster.drop_database(database)
    cluster.create_database(database, template=template)
    with connect(cluster, database) as connection:
        configure(connection, CONFIG, {"api_base": url})
        connection.execute("CHECKPOINT")
    return database


def vectors_in(cluster: Cluster, database: str) -> int:
    """Return how many vectors there are."""
    with connect(cluster, database) as connection:
        row = connection.execute("SELECT count(*) FROM omop_emb.embedding_1").fetchone()
    return row[0] if row else 0
