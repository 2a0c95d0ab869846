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

    Raises OmopEmbError when ``name`` is worse than ``reference``: the 95 % interval of the difference is below 0.
    ``connection`` must be in autocommit mode.
    """
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
        rows = connection.execute("SELECT name, is_active FROM omop_emb.config ORDER BY name").fetchall()
        configurations: dict[str, bool] = dict(rows)
        if name not in configurations:
            known = ", ".join(repr(each) for each in configurations)
            raise OmopEmbError(
                f"there is no configuration {name!r}", f"There are: {known}." if known else None, "OE002"
            )
        if configurations[name] and len(configurations) > 1:
            others = " or ".join(each for each in configurations if each != name)
            raise OmopEmbError(
                f"configuration {name!r} is the one that search uses",
                f"Activate another first: omop-emb-admin activate {others}.",
            )
        connection.execute("DELETE FROM omop_emb.config WHERE name = %s", [name])
        return configurations[name]
