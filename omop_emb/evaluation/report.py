"""What the three reports share: labels, the worst misses, figures per vocabulary; and the report as JSON."""

import json
from dataclasses import asdict, dataclass

from omop_emb.evaluation.result import Evaluation, Found, GoldQuery, Ranking, RoleRanking
from omop_emb.evaluation.statistics import LAST_RANK, hits, reciprocal_ranks

WORST = 20


@dataclass(frozen=True)
class Miss:
    """A query whose concept is not found first, and what is found instead."""

    query: GoldQuery
    rank: int | None
    found: Found | None


@dataclass(frozen=True)
class GroupFigures:
    """The figures of the queries that want a concept of one vocabulary or chapter."""

    name: str
    queries: int
    hit_at_10: float
    mrr: float


def role_label(role: RoleRanking) -> str:
    """Name a combination of roles: that of the documents, then that of the queries."""
    label = f"{role.documents} / {role.queries}"
    if role.is_right:
        return f"{label} (right)"
    return f"{label} (swapped)" if role.documents != role.queries else label


def label(name: str, mode: str | None) -> str:
    """Name a configuration, and the mode of its searches."""
    return f"{name} ({mode})" if mode else name


def p_label(p_value: float) -> str:
    """Say a p-value."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def worst_misses(evaluation: Evaluation, ranking: Ranking, count: int = WORST) -> list[Miss]:
    """Return up to ``count`` queries that are not found first: those not found, then those found last.

    Among equals the one whose wrong answer looks best comes first.
    """
    misses = [
        Miss(query, rank, found)
        for query, rank, found in zip(evaluation.queries, ranking.ranks, ranking.first, strict=True)
        if rank != 1
    ]

    def badness(miss: Miss) -> tuple[float, float]:
        rank = float("inf") if miss.rank is None else float(miss.rank)
        return (-rank, -miss.found.similarity if miss.found else 0.0)

    return sorted(misses, key=badness)[:count]


def by_group(evaluation: Evaluation, ranking: Ranking) -> list[GroupFigures]:
    """Return the figures per vocabulary or chapter, by name; a query counts in each that it wants a concept of."""
    ranks: dict[str, list[int | None]] = {}
    for query, rank in zip(evaluation.queries, ranking.ranks, strict=True):
        for group in {evaluation.groups[key] for key in query.wanted}:
            ranks.setdefault(group, []).append(rank)
    return [
        GroupFigures(name, len(some), float(hits(some, 10).mean()), float(reciprocal_ranks(some).mean()))
        for name, some in sorted(ranks.items())
    ]


def as_json(evaluation: Evaluation) -> str:
    """Return everything that is known as one JSON object; ``ranks`` and ``first`` are in the order of ``queries``."""
    known = asdict(evaluation)
    names, groups = known.pop("names"), known.pop("groups")
    known["queries"] = [
        {
            "query": query.text,
            "wanted": [{"id": key, "name": names[key], "group": groups[key]} for key in query.wanted],
        }
        for query in evaluation.queries
    ]
    return json.dumps({"rank_limit": LAST_RANK, **known}, ensure_ascii=False, indent=1)
