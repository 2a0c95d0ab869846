"""Building the HNSW indexes of a configuration."""

from collections.abc import Callable

import psycopg


def build_indexes(
    connection: psycopg.Connection, config: str | None, show: Callable[[str, int, int | None], None]
) -> None:
    """Build what is missing."""
    connection.execute("SELECT omop_emb.count_for_searches(%s)", [config])
    connection.execute("SELECT omop_emb.finish_index(%s)", [config])
