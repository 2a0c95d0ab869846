"""Which configuration search uses: cut over to another, go back, remove one."""

from pathlib import Path

import psycopg

from omop_emb.database import readable_errors
from omop_emb.errors import OmopEmbError
from omop_emb.evaluation import Options, compare, read_pairs
from omop_emb.evaluation.result import Comparison, Progress, no_progress


def activate(connection: psycopg.Connection, name: str, *, incomplete: bool = False) -> str | None:
    """Make a configuration the active one, in one short transaction; returns the name of the one before.

    Raises OmopEmbError unless it exists and, without ``incomplete``, every text in its scope has a vector.
    """
    with readable_errors(), connection.transaction():
        row = connection.execute("SELECT omop_emb.activate(%s, %s)", [name, incomplete]).fetchone()
    return row[0] if row else None


def require_not_worse(
    connection: psycopg.Connection,
    name: str,
    reference: str,
    pairs: Path,
    *,
    skip_unknown: bool = False,
    progress: Progress = no_progress,
) -> Comparison:
    """Search all gold pairs of a file in both configurations and return the difference in MRR.

    Raises OmopEmbError when ``name`` is worse than ``reference``: the 95 % interval of the difference is below 0;
    before any search when it is not built.
    ``connection`` must be in autocommit mode.
    """
    with readable_errors():
        connection.execute("SELECT omop_emb.require_built(%s)", [name])
    options = Options(queries=None, controls=False, skip_unknown=skip_unknown)
    comparison = compare(connection, read_pairs(pairs), name, reference, options, progress)
    if comparison.test.difference.high < 0:
        raise OmopEmbError(
            f"configuration {name!r} is worse than {reference!r} on {pairs}: {difference_in_words(comparison)}",
            "Search goes on as before. See where:"
            f" omop-emb-admin evaluate {pairs} --config {name} --config {reference}",
        )
    return comparison


def difference_in_words(comparison: Comparison) -> str:
    """Return the difference of the first configuration's MRR from the second's, with its interval."""
    difference = comparison.test.difference
    return (
        f"MRR {difference.value:+.3f} (95 % interval {difference.low:+.3f} to {difference.high:+.3f},"
        f" {comparison.queries} queries)"
    )


def rollback(connection: psycopg.Connection) -> str:
    """Make the configuration active that was so before; returns its name. OmopEmbError when there was none."""
    with readable_errors(), connection.transaction():
        row = connection.execute("SELECT omop_emb.rollback()").fetchone()
    return str(row[0]) if row else ""


def drop(connection: psycopg.Connection, name: str) -> bool:
    """Remove a configuration with its vectors and index; returns whether it was the active one.

    Raises OmopEmbError when there is none of that name, or when it is active and another could be.
    """
    with readable_errors(), connection.transaction():
        row = connection.execute("SELECT omop_emb.drop_config(%s)", [name]).fetchone()
    return bool(row and row[0])
