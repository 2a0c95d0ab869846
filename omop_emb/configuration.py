"""Add or change an embedding configuration."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from omop_emb.database import readable_errors
from omop_emb.errors import OmopEmbError
from omop_emb.model_names import FAMILIES, moving_name_problem
from omop_emb.server.model_families import ROLES, find_family

PREFIX_VARIABLES = {
    "document_prefix": "OMOP_EMB_DOCUMENT_EMBEDDING_PREFIX",
    "query_prefix": "OMOP_EMB_QUERY_EMBEDDING_PREFIX",
}
JSON_SETTINGS = ("document_params", "query_params")

Say = Callable[[str], Any]


def ignore(_: str) -> None:
    """Say nothing."""


def configure(
    connection: psycopg.Connection,
    name: str,
    settings: Mapping[str, Any],
    *,
    discard_vectors: bool = False,
    note: Say = ignore,
    warn: Say = ignore,
) -> dict[str, Any]:
    """Add the configuration or change the given settings of it, in one transaction; returns its row.

    Settings that are None are left as they are, or at their default in a new configuration; a new one takes prefixes
    that are not given from the environment, else prefixes and params from the family of its model.
    ``discard_vectors`` throws its vectors away first, so that settings that shape them can change.

    When it is done, ``note`` is told what was filled in and from where, ``warn`` each thing that looks wrong.
    """
    given = {key: value for key, value in settings.items() if value is not None}
    notes: list[str] = []
    with readable_errors(), collected_warnings(connection) as warnings, connection.transaction():
        row = connection.execute("SELECT 1 FROM omop_emb.config WHERE name = %s", [name]).fetchone()
        if row is None:
            if missing := [key for key in ("api_base", "model") if key not in given]:
                options = " and ".join("--" + key.replace("_", "-") for key in missing)
                raise OmopEmbError(f"there is no configuration {name!r} yet: a new one needs {options}")
            notes += fill_in(given)
        elif discard_vectors:
            connection.execute("SELECT omop_emb.discard(%s)", [name])
        try:
            write_settings(connection, name, given, new=row is None)
        except psycopg.errors.UniqueViolation as error:
            raise OmopEmbError(
                f"configuration {name!r} was added by another session just now", "Run the same again to change it."
            ) from error
        written = read_configuration(connection, name)
    if "model" in given or "api_base" in given:
        problem = moving_name_problem(written["model"], written["api_base"])
        warnings += [problem] if problem else []
    for text in notes:
        note(text)
    for text in dict.fromkeys(warnings):
        warn(text)
    return written


def fill_in(given: dict[str, Any]) -> list[str]:
    """Add the prefixes and params that a new configuration is not given; returns a line for each place they are from.

    An empty variable of the environment counts as unset.
    """
    notes = []
    for key, variable in PREFIX_VARIABLES.items():
        if key not in given and os.environ.get(variable):
            given[key] = os.environ[variable]
            notes.append(f"{key.replace('_', ' ')} {given[key]!r} is from {variable}")
    family = find_family(str(given["model"]), FAMILIES)
    added = []
    for key, value in [
        (f"{role}_{kind}", family[role][kind]) for kind in ("prefix", "params") for role in ROLES if family
    ]:
        if key not in given:
            given[key] = json.dumps(value) if key in JSON_SETTINGS else value
            if value or key not in JSON_SETTINGS:
                added.append(f"{key.replace('_', ' ')} {given[key] if key in JSON_SETTINGS else repr(value)}")
    if family and added:
        notes.append(f"from the model family {family['name']} ({family['model_card']}): {', '.join(added)}")
    return notes


@contextmanager
def collected_warnings(connection: psycopg.Connection) -> Iterator[list[str]]:
    """Give a list that takes the warnings of the database within the block."""
    warnings: list[str] = []

    def collect(notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            warnings.append(notice.message_primary or "")

    connection.add_notice_handler(collect)
    try:
        yield warnings
    finally:
        connection.remove_notice_handler(collect)


def write_settings(connection: psycopg.Connection, name: str, given: Mapping[str, Any], *, new: bool) -> None:
    """Insert the configuration or update it; its trigger checks the values and makes table and index."""
    values = {key: Jsonb(json.loads(value)) if key in JSON_SETTINGS else value for key, value in given.items()}
    columns = [sql.Identifier(key) for key in values]
    if new:
        statement = sql.SQL("INSERT INTO omop_emb.config (name, {}) VALUES (%s, {})").format(
            sql.SQL(", ").join(columns), sql.SQL(", ").join(sql.Placeholder() * len(columns))
        )
        connection.execute(statement, [name, *values.values()])
    elif columns:
        assignments = sql.SQL(", ").join(sql.SQL("{} = %s").format(column) for column in columns)
        statement = sql.SQL("UPDATE omop_emb.config SET {} WHERE name = %s").format(assignments)
        connection.execute(statement, [*values.values(), name])


def read_configuration(connection: psycopg.Connection, name: str) -> dict[str, Any]:
    """Return the row of a configuration by column name."""
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        row = cursor.execute("SELECT * FROM omop_emb.config WHERE name = %s", [name]).fetchone()
    if row is None:
        raise OmopEmbError(f"there is no configuration {name!r}", "omop-emb-admin status lists them.", "OE002")
    return row
