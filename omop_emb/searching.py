"""Read what the database functions say: search results and the state of the configurations."""

from typing import Any

import psycopg
from psycopg.rows import dict_row

from omop_emb.database import readable_errors


def search(connection: psycopg.Connection, query: str, **arguments: Any) -> list[dict[str, Any]]:
    """Return the rows of ``omop_emb_search``, best first; arguments that are None keep their SQL default."""
    names = [name for name, value in arguments.items() if value is not None]
    call = psycopg.sql.SQL(", ").join(
        [
            psycopg.sql.SQL("%(query)s"),
            *(psycopg.sql.SQL("{} => {}").format(psycopg.sql.Identifier(n), psycopg.sql.Placeholder(n)) for n in names),
        ]
    )
    with readable_errors(), connection.cursor(row_factory=dict_row) as cursor:
        statement = psycopg.sql.SQL("SELECT * FROM omop_emb_search({})").format(call)
        return cursor.execute(statement, {"query": query, **arguments}).fetchall()


def status(connection: psycopg.Connection) -> list[dict[str, Any]]:
    """Return the rows of the view ``omop_emb.status``, one per configuration."""
    with readable_errors(), connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("SELECT * FROM omop_emb.status").fetchall()
