"""Take the vectors of a configuration to another database, so that it need not embed the same texts again."""

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
from psycopg.types.json import Jsonb

from omop_emb.database import readable_errors
from omop_emb.errors import OmopEmbError
from omop_emb.files import replacing, writing_errors
from omop_emb.server.embedding import vector_literal

if TYPE_CHECKING:
    from omop_emb.vectorfile import VectorBatch, VectorFile

EXPORTED_NUMBERS = 4_000_000
IMPORTED_NUMBERS = 500_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

# Called with what is being done, the vectors done and, where known, the vectors in all.
Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Exported:
    """What was exported: ``sha256`` is of the settings and vectors, the same for every export of the same ones."""

    config: str
    file: str
    vectors: int
    bytes: int
    sha256: str


@dataclass
class Imported:
    """What became of the vectors of a file, and how many texts of the target still have no vector."""

    config: str
    added: int = 0
    known: int = 0
    unused: int = 0
    pending: int = 0


def export_vectors(
    connection: psycopg.Connection,
    path: str | os.PathLike[str],
    config: str | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write the vectors of a configuration, as of one moment, to a Parquet file; see ``omop_emb.vectorfile``.

    ``connection`` must not be in a transaction. The file appears when it is whole; until then, and after any error,
    what was there before is untouched. Raises OmopEmbError when there is nothing to export or it cannot be written.
    """
    vectorfile = load_vectorfile()
    with readable_errors(), connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        name = chosen_name(connection, config)
        provenance = read_provenance(connection, config)
        total = estimated_vectors(connection, name)
        rows = max(1, EXPORTED_NUMBERS // provenance["dimensions"])
        batches = stored_vectors(connection, name, provenance, rows)
        first = next(batches, None)
        if first is None:
            raise OmopEmbError(
                f"configuration {name!r} has no vectors to export",
                f"Run omop-emb-admin index --config {shlex.quote(name)}.",
            )
        written = 0

        def counted() -> Iterator["VectorBatch"]:
            nonlocal written
            batch: VectorBatch | None = first
            while batch is not None:
                yield batch
                written += len(batch.text_hashes)
                if progress:
                    progress("exporting", written, max(total, written))
                batch = next(batches, None)

        with writing_errors(path), replacing(path) as file:
            sha256 = vectorfile.write_vectors(file, provenance, counted())
            size = file.seek(0, os.SEEK_END)
    return Exported(name, os.fspath(path), written, size, sha256)


def import_vectors(
    connection: psycopg.Connection,
    path: str | os.PathLike[str],
    config: str | None = None,
    progress: Progress | None = None,
) -> Imported:
    """Add the vectors of an exported file to a configuration with the same settings, all of them or none.

    ``connection`` must be in autocommit mode. Texts that the file has no vector for are left to be embedded. Raises
    OmopEmbError, with nothing changed, for a file that is not whole or was made under other settings.
    """
    vectorfile = load_vectorfile()
    show: Progress = progress or (lambda *_: None)
    with vectorfile.VectorFile.open(path) as file:
        rows = max(1, IMPORTED_NUMBERS // file.provenance["dimensions"])
        checked = 0
        for batch in file.batches(rows):
            embedding_times(batch, file.name)
            checked += len(batch.text_hashes)
            show("checking", checked, file.vectors)
        with readable_errors():
            with advice_for("OE002", file.provenance, config or "NEWNAME"):
                target = chosen_name(connection, config)
                read_provenance(connection, config)
            done = Imported(target)
            with advice_for("OE001", file.provenance, "NEWNAME"):
                add_batch(connection, done, file, None)
            with connection.transaction():
                connection.execute("SELECT omop_emb.prepare_import(%s)", [target])
                for batch in file.batches(rows):
                    add_batch(connection, done, file, batch)
                    show("importing", done.added + done.known + done.unused, file.vectors)
            show("indexing", file.vectors, file.vectors)
            row = connection.execute("SELECT pending FROM omop_emb.begin_index(%s)", [target]).fetchone()
            done.pending = row[0] if row else 0
            connection.execute("SELECT omop_emb.count_for_searches(%s)", [target])
            connection.execute("SELECT omop_emb.finish_index(%s)", [target])
    return done


def load_vectorfile() -> ModuleType:
    """Return the module for the file; OmopEmbError when pyarrow is missing."""
    try:
        from omop_emb import vectorfile  # noqa: PLC0415
    except ImportError as error:
        raise OmopEmbError(
            f"export and import need pyarrow: {error}", "pip install 'omop-emb-postgres[parquet]'"
        ) from error
    return vectorfile


def chosen_name(connection: psycopg.Connection, config: str | None) -> str:
    """Return the name that NULL stands for now, so that another one activated meanwhile changes nothing."""
    if config is not None:
        return config
    row = connection.execute("SELECT name FROM omop_emb.config WHERE is_active").fetchone()
    return str(row[0]) if row else ""


def read_provenance(connection: psycopg.Connection, config: str | None) -> dict[str, Any]:
    """Return the settings under which the stored vectors of the configuration were made."""
    row = connection.execute("SELECT omop_emb.provenance_of(%s)", [config]).fetchone()
    if row is None or row[0] is None:
        raise OmopEmbError("the database did not answer under which settings its vectors were made")
    return dict(row[0])


def estimated_vectors(connection: psycopg.Connection, name: str) -> int:
    """Return about how many vectors the configuration has, without counting them; 0 when nothing is known."""
    row = connection.execute(
        "SELECT greatest(t.reltuples, 0)::bigint FROM pg_class t JOIN omop_emb.config c"
        " ON t.relname = 'embedding_' || c.config_id AND t.relnamespace = 'omop_emb'::regnamespace WHERE c.name = %s",
        [name],
    ).fetchone()
    return int(row[0]) if row else 0


def stored_vectors(
    connection: psycopg.Connection, name: str, provenance: Mapping[str, Any], rows: int
) -> Iterator["VectorBatch"]:
    """Yield all vectors of the configuration in the order of their hashes, at most ``rows`` at a time."""
    vectorfile = load_vectorfile()
    number = vectorfile.NUMBERS[provenance["storage"]]
    dimensions = provenance["dimensions"]
    layout = np.dtype([("dimensions", ">i2"), ("unused", ">i2"), ("numbers", number.newbyteorder(">"), (dimensions,))])
    after: bytes | None = None
    while True:
        found = connection.execute(
            "SELECT text_hash, embedded_at, embedding FROM omop_emb.export_vectors(%s, %s, %s)",
            [name, after, rows],
            binary=True,
        ).fetchall()
        if not found:
            return
        after = found[-1][0]
        if any(len(embedding) != layout.itemsize for _, _, embedding in found):
            raise OmopEmbError(f"configuration {name!r} holds a vector that does not have {dimensions} dimensions")
        numbers = np.frombuffer(b"".join(embedding for _, _, embedding in found), layout)["numbers"]
        yield vectorfile.VectorBatch(
            [text_hash for text_hash, _, _ in found],
            np.array([(embedded_at - EPOCH) // MICROSECOND for _, embedded_at, _ in found], np.int64),
            numbers.astype(number),
        )


@contextmanager
def advice_for(sqlstate: str, provenance: Mapping[str, Any], name: str) -> Iterator[None]:
    """Give errors of that class, as their hint, the command that adds a configuration under the settings."""
    try:
        yield
    except psycopg.Error as error:
        if error.diag.sqlstate != sqlstate:
            raise
        raise OmopEmbError(
            str(error.diag.message_primary),
            f"This configuration would fit the file: {configure_command(name, provenance)}",
        ) from error


def configure_command(name: str, provenance: Mapping[str, Any]) -> str:
    """Return the command that adds a configuration under whose settings the vectors were made."""
    from omop_emb.vectorfile import canonical  # noqa: PLC0415

    options = {
        "--model": provenance["model"],
        "--dimensions": str(provenance["dimensions"]),
        "--document-prefix": provenance["document_prefix"],
        "--document-params": canonical(provenance["document_params"]).decode("utf-8"),
        "--distance": provenance["distance"],
        "--storage": provenance["storage"],
    }
    shown = " ".join(f"{option} {shlex.quote(value)}" for option, value in options.items())
    return f"omop-emb-admin configure {shlex.quote(name)} --api-base URL {shown} --query-prefix PREFIX"


def embedding_times(batch: "VectorBatch", name: str) -> list[datetime]:
    """Return when the vectors were made; OmopEmbError for a time that no calendar has."""
    try:
        return [EPOCH + microseconds * MICROSECOND for microseconds in batch.embedded_at.tolist()]
    except OverflowError as error:
        raise OmopEmbError(f"{name} holds a time outside the years 1 to 9999") from error


def add_batch(connection: psycopg.Connection, done: Imported, file: "VectorFile", batch: "VectorBatch | None") -> None:
    """Add the vectors of a batch, none of them when there is none, and count what became of them."""
    row = connection.execute(
        "SELECT added, known, unused FROM omop_emb.import_vectors(%s, %s, %s::bytea[], %s::timestamptz[], %s::text[])",
        [
            done.config,
            Jsonb(file.provenance),
            batch.text_hashes if batch else [],
            embedding_times(batch, file.name) if batch else [],
            [vector_literal(vector) for vector in batch.embeddings.tolist()] if batch else [],
        ],
    ).fetchone()
    if row is None:
        raise OmopEmbError("the database did not answer what became of the vectors")
    done.added += row[0]
    done.known += row[1]
    done.unused += row[2]
