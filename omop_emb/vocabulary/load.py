"""Load a download from Athena into a site's vocabulary tables, all of it or nothing."""

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
from psycopg import sql

from omop_emb.database import readable_errors
from omop_emb.errors import OmopEmbError
from omop_emb.install import check_schema_name, find_cdm_schema
from omop_emb.vocabulary import tables
from omop_emb.vocabulary.checks import check_concepts, left_as_they_were, local_concepts, nameless
from omop_emb.vocabulary.copy import check_columns, copy_file
from omop_emb.vocabulary.download import NAMELESS_CPT4, VocabularyFile, find_files

DEFAULT_SCHEMA = "cdm"
LOCK = "SELECT pg_advisory_xact_lock(hashtext('omop_emb'), hashtext('load-vocabulary'))"
MEGABYTE = 1_000_000
TABLES_SHOWN = 10

# Called with what is being done, how much of it is done and, where known, how much there is: of files, megabytes.
Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Loaded:
    """What was loaded: rows by table, tables that were created for it, warnings, and the command to run next."""

    cdm_schema: str
    rows: dict[str, int]
    created: list[str]
    warnings: list[str]
    next_command: str


def load_vocabulary(
    connection: psycopg.Connection,
    path: Path,
    cdm_schema: str | None = None,
    *,
    replace: bool = False,
    drop_local_concepts: bool = False,
    progress: Progress = lambda step, done, total: None,
) -> Loaded:
    """Load the files of a directory or zip file into the vocabulary tables, in one transaction.

    ``connection`` must not be in a transaction. Tables that are missing are created. Without ``cdm_schema`` it is the
    schema that omop_emb is installed for, else the only one with a table ``concept``, else a new one, ``cdm``.
    ``replace`` empties tables that hold rows, if the download has a file for them; local concepts that it does not
    have are only removed with ``drop_local_concepts``.

    Raises OmopEmbError, with nothing changed, for what the files, the tables or the role's privileges do not allow.
    """
    files = find_files(path)
    with loading_errors(), connection.transaction():
        connection.execute(LOCK)
        connection.execute("SET LOCAL datestyle = 'ISO, YMD'")
        schema = choose_schema(connection, cdm_schema)
        created = create_missing(connection, schema, files)
        loaded = {table: file for table, file in files.items() if table != NAMELESS_CPT4}
        columns = {table: tables.read_columns(connection, schema, table) for table in loaded}
        for table, file in loaded.items():
            check_columns(file, f"{schema}.{table}", columns[table])
        local = [] if drop_local_concepts else local_concepts(connection, schema)
        make_room(connection, schema, list(loaded), replace, progress)
        rows = {}
        for table, file in loaded.items():
            show = partial(show_bytes, progress, file)
            show(0)
            rows[table] = copy_file(connection, file, sql.Identifier(schema, table), columns[table], show)
            show(file.size)
            if table == "concept":
                check_concepts(connection, schema, file, rows[table], local)
        for number, table in enumerate(loaded):
            progress("indexes and statistics", number, len(loaded))
            if table in created:
                tables.create_indexes(connection, schema, table)
            connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(schema, table)))
        progress("indexes and statistics", len(loaded), len(loaded))
        warnings = [*left_as_they_were(connection, schema, loaded), *nameless(connection, schema, files)]
        is_installed = installed_schema(connection) == schema and not created
    migrate = f"omop-emb-admin migrate --cdm-schema {shlex.quote(schema)}"
    return Loaded(schema, rows, created, warnings, "omop-emb-admin index" if is_installed else migrate)


@contextmanager
def loading_errors() -> Iterator[None]:
    """Say what a role needs that may not load, and any other error of the database in one line."""
    with readable_errors():
        try:
            yield
        except psycopg.errors.InsufficientPrivilege as error:
            raise OmopEmbError(
                str(error.diag.message_primary),
                "Loading needs SELECT and INSERT on the vocabulary tables, with --replace also TRUNCATE, and to create"
                " tables CREATE on their schema. Nothing was changed.",
                "42501",
            ) from error


def choose_schema(connection: psycopg.Connection, wanted: str | None) -> str:
    """Return the schema to load into, which need not exist; OmopEmbError when it is not clear or not fit for it."""
    rows = connection.execute(
        "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relname = 'concept' AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'omop_emb'"
    ).fetchall()
    there = [name for (name,) in rows]
    wanted = wanted or installed_schema(connection) or (None if there else DEFAULT_SCHEMA)
    if wanted is None or wanted in there:
        return find_cdm_schema(connection, wanted)
    check_schema_name(wanted)
    if wanted == "omop_emb":
        raise OmopEmbError("the schema omop_emb is this package's own", "Name another one with --cdm-schema.")
    return wanted


def installed_schema(connection: psycopg.Connection) -> str | None:
    """Return the schema whose vocabulary omop_emb watches; a role without rights on omop_emb may ask this too."""
    row = connection.execute(
        "SELECT n.nspname FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relname = 'concept' AND g.tgname = 'omop_emb_inserted' AND NOT g.tgisinternal"
    ).fetchone()
    return str(row[0]) if row else None


def create_missing(connection: psycopg.Connection, schema: str, files: Mapping[str, VocabularyFile]) -> list[str]:
    """Create the tables that are missing and return which; where there is a vocabulary, only those with a file."""
    if not connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", [schema]).rowcount:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    missing = tables.missing_tables(connection, schema)
    if "concept" not in missing:
        missing = [table for table in missing if table in files]
    tables.create_tables(connection, schema, missing)
    return missing


def make_room(
    connection: psycopg.Connection, schema: str, loaded: list[str], replace: bool, progress: Progress
) -> None:
    """Empty the tables if any holds rows; OmopEmbError when that is not asked for, or foreign keys forbid it."""
    filled = [table for table in loaded if tables.holds_rows(connection, schema, table)]
    if not filled:
        return
    named = ", ".join(f"{schema}.{table}" for table in filled)
    if not replace:
        raise OmopEmbError(
            f"there are rows already in {named}",
            "--replace empties the tables that the download has files for, and loads them anew.",
        )
    keys = tables.foreign_keys(connection, schema, loaded)
    if keys:
        shown = [f"{table} ({', '.join(names)})" for table, names in keys.items()]
        more = f"; and of {len(shown) - TABLES_SHOWN} more tables" if len(shown) > TABLES_SHOWN else ""
        raise OmopEmbError(
            f"foreign keys of other tables forbid to empty the vocabulary's: {'; '.join(shown[:TABLES_SHOWN])}{more}",
            "Drop them, load, and add them again; docs/operations.md shows how. Nothing was changed.",
        )
    identifiers = sql.SQL(", ").join(sql.Identifier(schema, table) for table in loaded)
    try:
        with connection.transaction():
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE NOWAIT").format(identifiers))
    except psycopg.errors.LockNotAvailable:
        progress("waiting for other sessions", 0, None)
    connection.execute(sql.SQL("TRUNCATE {}").format(identifiers))


def show_bytes(progress: Progress, file: VocabularyFile, done: int) -> None:
    """Show how much of a file is done, in megabytes rounded up."""
    progress(file.name, -(-done // MEGABYTE), -(-file.size // MEGABYTE))
