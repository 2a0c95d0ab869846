"""The OMOP CDM's vocabulary tables: their definitions in version 5.4, and what a site's own look like."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from omop_emb.errors import OmopEmbError

DIRECTORY = Path(__file__).parent
TABLES = tuple(sorted(path.stem for path in (DIRECTORY / "tables").glob("*.sql")))


@dataclass(frozen=True)
class Columns:
    """The columns of a table: all, those that a file must have, and those of text that may not be NULL."""

    all: frozenset[str]
    needed: frozenset[str]
    not_null_text: frozenset[str]


@contextmanager
def names_in(connection: psycopg.Connection, schema: str) -> Iterator[None]:
    """Let unqualified names mean that schema, within a transaction."""
    before = connection.execute("SELECT current_setting('search_path')").fetchone()
    connection.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(schema)))
    yield
    connection.execute("SELECT set_config('search_path', %s, true)", before)


def create_tables(connection: psycopg.Connection, schema: str, tables: Iterable[str] = TABLES) -> None:
    """Create tables as the CDM defines them, with primary keys; other indexes come after the rows."""
    with names_in(connection, schema):
        for table in tables:
            connection.execute(definition(table).encode())


def create_indexes(connection: psycopg.Connection, schema: str, table: str) -> None:
    """Create the usual indexes of a table that has no more than its primary key."""
    script = DIRECTORY / "indexes" / f"{table}.sql"
    if script.exists():
        with names_in(connection, schema):
            connection.execute(script.read_bytes())


def definition(table: str) -> str:
    """Return the statement that creates the table."""
    return (DIRECTORY / "tables" / f"{table}.sql").read_text(encoding="utf-8")


def missing_tables(connection: psycopg.Connection, schema: str) -> list[str]:
    """Return which tables the schema does not have; OmopEmbError when there is a view or the like in place of one."""
    rows = connection.execute(
        "SELECT c.relname, c.relkind IN ('r', 'p') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = ANY(%s)",
        [schema, list(TABLES)],
    ).fetchall()
    for table, is_table in rows:
        if not is_table:
            raise OmopEmbError(f"{schema}.{table} is not a table", "Load into the schema that holds the table itself.")
    there = {table for table, _ in rows}
    return [table for table in TABLES if table not in there]


def read_columns(connection: psycopg.Connection, schema: str, table: str) -> Columns:
    """Return the columns of a table of the site's.

    A file must have those that the CDM defines, also if they may be NULL: a concept without invalid_reason is valid.
    """
    rows = connection.execute(
        "SELECT a.attname, a.attnotnull OR t.typnotnull,"
        " (a.attnotnull OR t.typnotnull) AND NOT a.atthasdef AND a.attidentity = '', t.typcategory = 'S'"
        " FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid"
        " WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped",
        [sql.Identifier(schema, table).as_string(connection)],
    ).fetchall()
    defined = set(re.findall(r"^    (\w+) ", definition(table), re.MULTILINE))
    return Columns(
        frozenset(name for name, *_ in rows),
        frozenset(name for name, _, is_needed, _ in rows if is_needed or name in defined),
        frozenset(name for name, is_not_null, _, is_text in rows if is_not_null and is_text),
    )


def holds_rows(connection: psycopg.Connection, schema: str, table: str) -> bool:
    """Return whether the table has a row."""
    statement = sql.SQL("SELECT FROM {} LIMIT 1").format(sql.Identifier(schema, table))
    return connection.execute(statement).rowcount > 0


def foreign_keys(connection: psycopg.Connection, schema: str, tables: Iterable[str]) -> dict[str, list[str]]:
    """Return the foreign keys to these tables from other ones, by the name of the table that they are of."""
    ids = [sql.Identifier(schema, table).as_string(connection) for table in tables]
    rows = connection.execute(
        "SELECT conrelid::regclass::text, array_agg(conname::text ORDER BY conname) FROM pg_constraint"
        " WHERE contype = 'f' AND conparentid = 0 AND confrelid = ANY(%(ids)s::text[]::regclass[])"
        " AND conrelid <> ALL(%(ids)s::text[]::regclass[]) GROUP BY conrelid ORDER BY 1",
        {"ids": ids},
    ).fetchall()
    return dict(rows)
