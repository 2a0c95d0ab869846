"""Read what the database functions say: search results and the state of the configurations."""

from typing import Any

import psycopg
from psycopg.rows import dict_row

from omop_emb.database import readable_errors


def search(connection: psycopg.Connection, query: str, **arguments: Any) -> list[dict[str, Any]]:
    """Return the rows of ``omop_emb_search``, best first; arguments that are None keep their SQL default."""
    return _call(connection, "omop_emb_search", {"query": query, **arguments})


def map_queries(connection: psycopg.Connection, queries: list[str], **arguments: Any) -> list[dict[str, Any]]:
    """Return the rows of ``omop_emb_map``: at least one per query; ``query_no`` counts them from 1."""
    return _call(connection, "omop_emb_map", {"queries": queries, **arguments})


def standard_targets(connection: psycopg.Connection, concept_ids: list[int]) -> list[dict[str, Any]]:
    """Return the standard concepts that concepts map to, with domain and vocabulary; a standard one to itself."""
    return _call(connection, "omop_emb.standard_targets", {"concept_ids": concept_ids})


def _call(connection: psycopg.Connection, function: str, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    given = {name: value for name, value in arguments.items() if value is not None}
    statement = psycopg.sql.SQL("SELECT * FROM {}({})").format(
        psycopg.sql.Identifier(*function.split(".")),
        psycopg.sql.SQL(", ").join(
            psycopg.sql.SQL("{} => {}").format(psycopg.sql.Identifier(name), psycopg.sql.Placeholder(name))
            for name in given
        ),
    )
    with readable_errors(), connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement, given).fetchall()


def status(connection: psycopg.Connection) -> list[dict[str, Any]]:
    """Return the rows of the view ``omop_emb.status``, one per configuration."""
    with readable_errors(), connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("SELECT * FROM omop_emb.status").fetchall()
