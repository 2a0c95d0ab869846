"""What the prefixes are worth: the same queries and documents, each embedded in the right and in the wrong role."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import psycopg

from omop_emb.evaluation.pool import Vectors, embed
from omop_emb.evaluation.ranking import Ranker
from omop_emb.evaluation.result import GoldQuery, Options, Progress, RoleRanking
from omop_emb.evaluation.statistics import paired_tests

RIGHT = ("document", "query")
# (role of the documents, role of the queries)
WRONG = (("document", "document"), ("query", "query"), ("query", "document"))


def roles_differ(settings: dict[str, Any]) -> bool:
    """Whether the configuration embeds documents and queries in different ways."""
    return (settings["document_prefix"], settings["document_params"]) != (
        settings["query_prefix"],
        settings["query_params"],
    )


def rank_by_role(
    connection: psycopg.Connection,
    settings: dict[str, Any],
    queries: Sequence[GoldQuery],
    texts: Sequence[str],
    ranker: Ranker,
    options: Options,
    progress: Progress,
    *,
    stored: Vectors | None = None,
) -> list[RoleRanking]:
    """Rank ``texts`` for ``queries``, in the right roles first, then, if the options say so, in the wrong ones.

    ``stored`` are vectors of the texts in the DOCUMENT role, which are then not embedded again.
    """
    name = settings["name"]

    def embedded(what: str, role: str, some: Sequence[str]) -> Vectors:
        return embed(connection, name, role, some, progress, f"{what} as {role}, {name}")

    controls = options.controls and roles_differ(settings)
    roles = ("document", "query") if controls else ("document",)
    documents = {
        role: _as_stored(
            stored if role == "document" and stored is not None else embedded("documents", role, texts), settings
        )
        for role in roles
    }
    query_texts = [query.text for query in queries]
    query_vectors = {role: embedded("queries", role, query_texts) for role in ("query", *roles[: int(controls)])}

    def ranking(combination: tuple[str, str]) -> RoleRanking:
        of_documents, of_queries = combination
        found = ranker.rank(queries, query_vectors[of_queries], documents[of_documents], options.seed)
        return RoleRanking(of_documents, of_queries, found)

    right = ranking(RIGHT)
    if not controls:
        return [right]
    wrong = [ranking(combination) for combination in WRONG]
    tests = paired_tests([(role.ranking.ranks, right.ranking.ranks) for role in wrong], options.seed)
    return [
        right,
        *(RoleRanking(r.documents, r.queries, r.ranking, test) for r, test in zip(wrong, tests, strict=True)),
    ]


def _as_stored(vectors: Vectors, settings: dict[str, Any]) -> Vectors:
    return vectors.astype(np.float16).astype(np.float32) if settings["storage"] == "halfvec" else vectors
