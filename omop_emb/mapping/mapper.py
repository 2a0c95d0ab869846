"""What the database finds for the names of source codes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg

from omop_emb import searching

BATCH = 500


@dataclass(frozen=True)
class Target:
    """A standard concept that a name is mapped to."""

    concept_id: int
    concept_name: str
    domain_id: str
    vocabulary_id: str


@dataclass(frozen=True)
class Mapping:
    """The concept found for a name and the standard concepts it maps to, by concept_id.

    ``similarity`` is in [0, 1]. Without ``found``, nothing was; without ``targets``, what was has no standard concept.
    """

    found: str = ""
    concept_id: int = 0
    similarity: float = 0.0
    targets: tuple[Target, ...] = ()


NOTHING = Mapping()


def map_names(
    connection: psycopg.Connection, names: list[str], arguments: dict[str, Any], progress: Callable[[int, int], None]
) -> dict[str, Mapping]:
    """Return the mapping of every name, each asked for once; ``progress`` is told how many are done, of how many.

    ``connection`` is best in autocommit mode: each batch is then a transaction of its own.
    """
    names = list(dict.fromkeys(names))
    rows: dict[str, list[dict[str, Any]]] = {}
    for start in range(0, len(names), BATCH):
        batch = names[start : start + BATCH]
        for row in searching.map_queries(connection, batch, k=1, **arguments):
            rows.setdefault(batch[row["query_no"] - 1], []).append(row)
        progress(start + len(batch), len(names))
    targets = _targets(connection, rows)
    return {name: _mapping(rows[name], targets) for name in names}


def _targets(connection: psycopg.Connection, rows: dict[str, list[dict[str, Any]]]) -> dict[int, Target]:
    wanted = {row["standard_concept_id"] for found in rows.values() for row in found} - {None}
    return {
        row["concept_id"]: Target(row["concept_id"], row["concept_name"], row["domain_id"], row["vocabulary_id"])
        for row in searching.standard_targets(connection, sorted(wanted))
        if row["concept_id"] == row["standard_concept_id"]
    }


def _mapping(rows: list[dict[str, Any]], targets: dict[int, Target]) -> Mapping:
    row = rows[0]
    if row["concept_id"] is None:
        return NOTHING
    return Mapping(
        f"{row['concept_id']} {row['concept_name']} ({row['vocabulary_id']} {row['concept_code']})",
        row["concept_id"],
        row["similarity"],
        # One that is gone by now was replaced between two transactions.
        tuple(targets[row["standard_concept_id"]] for row in rows if row["standard_concept_id"] in targets),
    )
