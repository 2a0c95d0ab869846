"""What the database finds for the names of source codes."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg

from omop_emb import searching
from omop_emb.database import heard_warnings

BATCH = 500
# As omop_emb_search_batch says it, of one text of a batch.
_NOT_EMBEDDED = re.compile(r"query (\d+) of \d+ (cannot be embedded: .*)", re.DOTALL)


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
    ``problem`` says why the name could not be searched for.
    """

    found: str = ""
    concept_id: int = 0
    similarity: float = 0.0
    targets: tuple[Target, ...] = ()
    problem: str = ""


NOTHING = Mapping()


def map_names(
    connection: psycopg.Connection, names: list[str], arguments: dict[str, Any], progress: Callable[[int, int], None]
) -> tuple[dict[str, Mapping], list[str]]:
    """Return the mapping of every name, each asked for once, and what the database warned of apart from single names.

    ``progress`` is told how many names are done, of how many.

    ``connection`` is best in autocommit mode: each batch is then a transaction of its own.
    """
    names = list(dict.fromkeys(names))
    rows: dict[str, list[dict[str, Any]]] = {}
    problems: dict[str, str] = {}
    warnings: dict[str, None] = {}
    for start in range(0, len(names), BATCH):
        batch = names[start : start + BATCH]
        with heard_warnings(connection) as messages:
            for row in searching.map_queries(connection, batch, k=1, **arguments):
                rows.setdefault(batch[row["query_no"] - 1], []).append(row)
        for message in messages:
            refused = _NOT_EMBEDDED.fullmatch(message)
            if refused:
                problems[batch[int(refused[1]) - 1]] = f"the name {refused[2]}"
            else:
                warnings[message] = None
        progress(start + len(batch), len(names))
    targets = _targets(connection, rows)
    return {name: _mapping(rows[name], targets, problems.get(name, "")) for name in names}, list(warnings)


def _targets(connection: psycopg.Connection, rows: dict[str, list[dict[str, Any]]]) -> dict[int, Target]:
    wanted = {row["standard_concept_id"] for found in rows.values() for row in found} - {None}
    return {
        row["concept_id"]: Target(row["concept_id"], row["concept_name"], row["domain_id"], row["vocabulary_id"])
        for row in searching.standard_targets(connection, sorted(wanted))
        if row["concept_id"] == row["standard_concept_id"]
    }


def _mapping(rows: list[dict[str, Any]], targets: dict[int, Target], problem: str) -> Mapping:
    row = rows[0]
    if row["concept_id"] is None:
        return Mapping(problem=problem)
    return Mapping(
        f"{row['concept_id']} {row['concept_name']} ({row['vocabulary_id']} {row['concept_code']})",
        row["concept_id"],
        row["similarity"],
        # One that is gone by now was replaced between two transactions.
        tuple(targets[row["standard_concept_id"]] for row in rows if row["standard_concept_id"] in targets),
    )
