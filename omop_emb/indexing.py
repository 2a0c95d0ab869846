"""Bring the index of a configuration up to date from a client, in transactions that stay short."""

from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from omop_emb.database import readable_errors
from omop_emb.errors import OmopEmbError

CONCEPTS_PER_TRANSACTION = 256


@dataclass
class IndexResult:
    """What an index run did, in texts (``reused``: in terms); see ``omop_emb_index`` in SQL."""

    embedded: int = 0
    reused: int = 0
    removed: int = 0
    failed: int = 0
    remaining: int = 0


def index(
    connection: psycopg.Connection,
    config: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> IndexResult:
    """Work through everything pending; what is done is committed as it goes, so an interrupt loses little.

    ``connection`` must be in autocommit mode. ``progress`` is called with the texts done and the texts in all.
    """
    result = IndexResult()
    with readable_errors():
        row = connection.execute("SELECT removed, reused, pending FROM omop_emb.begin_index(%s)", [config]).fetchone()
        if row is None:
            raise OmopEmbError("the database did not answer how many texts are pending")
        result.removed, result.reused, total = row
        if progress:
            progress(0, total)
        while True:
            done = connection.execute(
                "SELECT embedded, reused, failed, remaining FROM omop_emb.continue_index(%s, %s)",
                [config, CONCEPTS_PER_TRANSACTION],
            ).fetchone()
            if done is None:
                raise OmopEmbError("the database did not answer what it embedded")
            embedded, reused, failed, result.remaining = done
            result.embedded += embedded
            result.reused += reused
            result.failed += failed
            if progress:
                progress(result.embedded + result.failed, total)
            if embedded + failed == 0 or result.remaining == 0:
                break
        connection.execute("SELECT omop_emb.count_for_searches(%s)", [config])
        connection.execute("SELECT omop_emb.finish_index(%s)", [config])
    return result
