"""Copy a file of the download into its table."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from omop_emb.errors import OmopEmbError
from omop_emb.vocabulary.download import VocabularyFile
from omop_emb.vocabulary.tables import Columns

# Its first word is not translated; the words for line and column are.
_WHERE = re.compile(r"^COPY [^,]+, \w+ (\d+)(?:, \w+ (\w+))?(?:\s*: (.*))?", re.MULTILINE)
_ADVICE = {
    "22001": "The column is narrower than the CDM's, or the line was changed: widen the column.",
    "22021": "Load the files as Athena gives them, in UTF-8.",
    "22P05": "The database's encoding cannot hold this character: load into a database in UTF8.",
    "22P04": "The line was cut off or changed: download the file again. Fields are separated by tabs, without quotes.",
    "23503": "Drop the foreign keys of the vocabulary tables, load, and add them again; docs/operations.md shows how.",
}
_SAYS_WHICH_KEY = ("23503", "23505")


def check_columns(file: VocabularyFile, table: str, columns: Columns) -> None:
    """Raise OmopEmbError unless the table has all columns of the file, and the file all that it must have."""
    unknown = [column for column in file.columns if column not in columns.all]
    if unknown:
        raise OmopEmbError(
            f"{file.name} has columns that {table} does not have: {', '.join(map(repr, unknown))}",
            "Athena's files have the columns of the CDM. If the file is right, add the column to the table.",
        )
    missing = sorted(columns.needed.difference(file.columns))
    if missing:
        raise OmopEmbError(
            f"{file.name} lacks columns that {table} needs: {', '.join(map(repr, missing))}",
            "Athena's files have all columns of the CDM: load them as they are.",
        )


def copy_file(
    connection: psycopg.Connection,
    file: VocabularyFile,
    table: sql.Identifier,
    columns: Columns,
    progress: Callable[[int], None],
) -> int:
    """Copy a file into its table and return how many rows that were; ``progress`` is told the bytes that were read.

    An empty field is NULL, or an empty text where the table takes no NULL. Raises OmopEmbError with the file's line and
    what PostgreSQL says of it.
    """
    not_null = [sql.Identifier(column) for column in file.columns if column in columns.not_null_text]
    statement = sql.SQL(
        "COPY {} ({}) FROM STDIN (FORMAT csv, HEADER, DELIMITER E'\\t', QUOTE E'\\b', ENCODING 'UTF8'{})"
    ).format(
        table,
        sql.SQL(", ").join(map(sql.Identifier, file.columns)),
        sql.SQL(", FORCE_NOT_NULL ({})").format(sql.SQL(", ").join(not_null)) if not_null else sql.SQL(""),
    )
    with line_errors(file.name), connection.cursor() as cursor:
        with cursor.copy(statement) as copy:
            for block in file.blocks(progress):
                copy.write(block)
        return cursor.rowcount


@contextmanager
def line_errors(name: str) -> Iterator[None]:
    """Say in which line of the file, and in which column, the database found an error in the data."""
    try:
        yield
    except (psycopg.errors.DataError, psycopg.errors.IntegrityError) as error:
        found = _WHERE.search(error.diag.context or "")
        line, column, value = found.groups() if found else (None, None, None)
        where = "".join([name, f", line {line}" if line else "", f", column {column}" if column else ""])
        said = str(error.diag.message_primary)
        sqlstate = str(error.diag.sqlstate)
        more = error.diag.message_detail if sqlstate in _SAYS_WHICH_KEY else value
        if more and more.strip('"') not in said:
            said = f"{said}: {' '.join(more.split())}"
        advice = _ADVICE.get(sqlstate, "Correct the line or download the file again.")
        raise OmopEmbError(f"{where}: {said}", f"Nothing was changed. {advice}", sqlstate) from error
