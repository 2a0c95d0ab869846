"""Add or change an embedding configuration."""

import json
import os
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from omop_emb.database import readable_errors
from omop_emb.errors import OmopEmbError

PREFIX_VARIABLES = {
    "document_prefix": "OMOP_EMB_DOCUMENT_EMBEDDING_PREFIX",
    "query_prefix": "OMOP_EMB_QUERY_EMBEDDING_PREFIX",
}
JSON_SETTINGS = ("document_params", "query_params")


def configure(
    connection: psycopg.Connection, name: str, settings: Mapping[str, Any], *, discard_vectors: bool = False
) -> dict[str, Any]:
    """Add the configuration or change the given settings of it, in one transaction; returns its row.

    Settings that are None are left as they are, or at their default in a new configuration; a new one takes the
    prefixes that are not given from the environment. ``discard_vectors`` throws its vectors away first, so that
    settings that shape them can change.
    """
    given = {key: value for key, value in settings.items() if value is not None}
    with readable_errors(), connection.transaction():
        row = connection.execute("SELECT 1 FROM omop_emb.config WHERE name = %s", [name]).fetchone()
        if row is None:
            for key, variable in PREFIX_VARIABLES.items():
                given.setdefault(key, os.environ.get(variable, ""))
            if missing := [key for key in ("api_base", "model") if key not in given]:
                options = " and ".join("--" + key.replace("_", "-") for key in missing)
                raise OmopEmbError(f"there is no configuration {name!r} yet: a new one needs {options}")
        elif discard_vectors:
            connection.execute("SELECT omop_emb.discard(%s)", [name])
        write_settings(connection, name, given, new=row is None)
        return read_configuration(connection, name)


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
        raise OmopEmbError(f"there is no configuration {name!r}")
    return row
