"""Which gold queries can be asked: those that want a concept of the index."""

from collections.abc import Mapping

import psycopg

from omop_emb import searching
from omop_emb.errors import OmopEmbError
from omop_emb.evaluation.pool import Pool
from omop_emb.evaluation.result import GoldPairs, GoldQuery, Key, Options


def known_queries(
    connection: psycopg.Connection, gold: GoldPairs, pools: Mapping[str, Pool], options: Options, notes: list[str]
) -> list[GoldQuery]:
    """Return the queries, each with the wanted concepts that are in every pool; adds a note on those that are not.

    ``pools`` has the wanted concepts that are indexed, by the name of the configuration. Raises OmopEmbError when a
    configuration has no vectors at all, when concepts are missing and the options do not say to go on without them,
    and when no query is left.
    """
    known: set[Key] = {key for query in gold.queries for key in query.wanted}
    for name, pool in pools.items():
        missing = sorted(known.difference(pool.keys), key=int)
        if not missing:
            continue
        if not pool.keys:
            _require_vectors(connection, name)
        said = f"{', '.join(map(str, missing[:5]))}{', ...' * (len(missing) > 5)}"
        filtered = options.domains or options.vocabularies or options.standard_only
        where = f"in the index of {name!r}{' or kept out by the filters' * bool(filtered)}"
        if not options.skip_unknown:
            count = f"{len(missing):,} concept ids of {gold.source} are" if len(missing) > 1 else "1 concept id is"
            raise OmopEmbError(
                f"{count} not {where}: {said}",
                "Correct the file, index those concepts, or go on without them: --skip-unknown.",
            )
        notes.append(f"{len(missing):,} concept ids were left out, not {where}: {said}")
        known.intersection_update(pool.keys)
    queries = [
        GoldQuery(query.text, wanted)
        for query in gold.queries
        if (wanted := tuple(key for key in query.wanted if key in known))
    ]
    if not queries:
        raise OmopEmbError(
            f"none of the concept ids of {gold.source} is in the index of {' and '.join(map(repr, pools))}"
        )
    if (left_out := len(gold.queries) - len(queries)) > 0:
        notes.append(f"{left_out:,} queries were left out with them")
    return queries


def _require_vectors(connection: psycopg.Connection, name: str) -> None:
    if not any(row["name"] == name and row["indexed"] for row in searching.status(connection)):
        raise OmopEmbError(
            f"nothing is indexed in configuration {name!r}", f"Run omop-emb-admin index --config {name!r} first."
        )
