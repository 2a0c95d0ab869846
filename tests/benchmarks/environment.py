"""The server, a database with the package and synthetic concepts, and vectors for them."""

import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psycopg
from pgvector import Vector
from pgvector.psycopg import register_vector

from omop_emb.demo.cluster import Cluster
from omop_emb.install import migrate
from omop_emb.vocabulary.tables import create_tables

DIMENSIONS = 384
TEMPLATE = "installed"
CLUSTERS = 1000

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    large: bool = False
    quick: bool = False
    plot: Path | None = None


# Those of an ordinary server whose memory holds the index, not those of a throwaway one.
SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "wal_level": "replica",
    "max_wal_senders": "10",
    "shared_buffers": "4GB",
    "maintenance_work_mem": "2GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "autovacuum": "off",
}
LARGE_SETTINGS = SETTINGS | {"shared_buffers": "10GB", "maintenance_work_mem": "5GB"}


def create_template(cluster: Cluster) -> None:
    """Make a database with empty vocabulary tables and the package."""
    cluster.create_database(TEMPLATE)
    dsn = cluster.dsn_for(TEMPLATE)
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE SCHEMA cdm")
        create_tables(connection, "cdm")
    migrate(dsn)


def connect(cluster: Cluster, database: str) -> psycopg.Connection:
    """Return an autocommit connection that sends statements as psql does."""
    return psycopg.connect(cluster.dsn_for(database), autocommit=True, prepare_threshold=None)


def concept_rows(count: int) -> bytes:
    """Return concepts as COPY reads them; every second one is a condition, every fourth not standard."""
    lines = [
        f"{i}\tSynthetic concept {i}\t{'Condition' if i % 2 else 'Drug'}\tSNOMED\tClinical Finding"
        f"\t{'S' if i % 4 else chr(92) + 'N'}\tC{i}\t1970-01-01\t2099-12-31\t\\N\n"
        for i in range(1, count + 1)
    ]
    return "".join(lines).encode()


def copy_in(connection: psycopg.Connection, statement: str, data: bytes) -> float:
    """Return the seconds that a COPY ... FROM STDIN of the data takes."""
    started = time.perf_counter()
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for start in range(0, len(data), 1 << 20):
            copy.write(data[start : start + (1 << 20)])
    return time.perf_counter() - started


def seconds(connection: psycopg.Connection, statement: str) -> float:
    """Return the seconds that a statement takes, with its result fetched."""
    started = time.perf_counter()
    result = connection.execute(statement)
    if result.description:
        result.fetchall()
    return time.perf_counter() - started


def centres() -> Vectors:
    """Return the (CLUSTERS, DIMENSIONS) centres that all vectors lie around."""
    return np.random.default_rng(0).standard_normal((CLUSTERS, DIMENSIONS), dtype=np.float32)


def cluster_numbers(count: int, seed: int) -> npt.NDArray[np.int64]:
    """Return, for each of ``vectors(count, seed)``, the number of the centre that it lies around."""
    return np.random.default_rng(seed).integers(0, CLUSTERS, count)


def vectors(count: int, seed: int) -> Vectors:
    """Return (count, DIMENSIONS) float32 vectors of length 1 around centres that all seeds share."""
    result = centres()[cluster_numbers(count, seed)]
    noise = np.random.default_rng([seed, 1]).standard_normal((count, DIMENSIONS), dtype=np.float32)
    noise *= 0.7
    result += noise
    result /= np.linalg.norm(result, axis=1, keepdims=True)
    return result


def vector_number(text: str, count: int) -> int:
    """Return which of ``count`` vectors the endpoint gives a text: that of the number at its end, or of its CRC-32."""
    last = text.rpartition(" ")[2]
    return (int(last) if last.isdecimal() else zlib.crc32(text.encode())) % count


def escaped(text: str) -> str:
    """Return a text as COPY reads it."""
    return text.replace("\\", "\\\\")


def fill(connection: psycopg.Connection, count: int, seed: int) -> None:
    """Store one of ``vectors(count, seed)`` per name, in the order of the concepts, without a model and the index."""
    register_vector(connection)
    rows = connection.execute(
        "SELECT t.text_hash, f.domains, f.vocabularies FROM omop_emb.config c, omop_emb.filed_under(c, NULL) f"
        " JOIN omop_emb.term t USING (text_hash) ORDER BY t.concept_id"
    ).fetchall()
    statement = "COPY omop_emb.embedding_1 (text_hash, domains, vocabularies, embedding) FROM STDIN (FORMAT BINARY)"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(["bytea", "text[]", "text[]", "vector"])
        for row, vector in zip(rows, vectors(count, seed), strict=True):
            copy.write_row((*row, Vector(vector)))
