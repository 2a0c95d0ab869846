"""What an evaluation is given and what it finds out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from omop_emb.evaluation.statistics import Measures, PairedTest

# The modes of omop_emb_search, its default first.
MODES = ("hybrid", "semantic")

# A concept is known by its concept_id; one of a built-in set, that no vocabulary holds, by its code.
Key = int | str


# Is told how far a step is, in texts; once with 0 done at its start.
Progress = Callable[[str, int, int], None]


def no_progress(step: str, done: int, total: int) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class GoldQuery:
    """A query and the concepts that answer it; any of them will do."""

    text: str
    wanted: tuple[Key, ...]


@dataclass(frozen=True)
class GoldPairs:
    """The gold queries of a file, in its order; ``merged`` lines repeated another one."""

    source: str
    queries: tuple[GoldQuery, ...]
    merged: int = 0


@dataclass(frozen=True)
class Options:
    """What an evaluation leaves to choose.

    At most ``queries`` (None: all) are drawn from those given, and ``concepts`` others are drawn to rank beside the
    wanted ones, both by ``seed``. The filters are those of ``omop_emb_search``; None is no filter. Without ``controls``
    the wrong roles are left out. ``skip_unknown`` goes on without concepts that are not in the index. Searches are made
    in each of ``modes``.
    """

    queries: int | None = 500
    concepts: int = 4000
    seed: int = 1
    domains: list[str] | None = None
    vocabularies: list[str] | None = None
    standard_only: bool = False
    controls: bool = True
    skip_unknown: bool = False
    modes: Sequence[str] = MODES


@dataclass(frozen=True)
class Found:
    """The concept that was ranked first, and its similarity as ``omop_emb_search`` gives it."""

    key: Key
    name: str
    similarity: float


@dataclass(frozen=True)
class Ranking:
    """The rank of the best wanted concept and what was found first, per query; a rank may be None for not found."""

    ranks: list[int | None]
    first: list[Found | None]
    measures: Measures


@dataclass(frozen=True)
class RoleRanking:
    """The ranking when documents and queries are embedded in the given roles; ``test`` compares it with the right one.

    The right one has ``documents`` 'document' and ``queries`` 'query', and no ``test``.
    """

    documents: str
    queries: str
    ranking: Ranking
    test: PairedTest | None = None

    @property
    def is_right(self) -> bool:
        """Whether these are the roles that the database uses."""
        return (self.documents, self.queries) == ("document", "query")


@dataclass(frozen=True)
class Latency:
    """Milliseconds that a call took from the client's side: median, 95th percentile, and how many calls."""

    what: str
    p50_ms: float
    p95_ms: float
    calls: int


@dataclass(frozen=True)
class SearchRanking:
    """What ``omop_emb_search`` finds in one mode, over the whole index, and how long it takes."""

    mode: str
    ranking: Ranking
    latency: Latency


@dataclass
class ConfigurationResult:
    """What one configuration does.

    ``searches`` has one entry per mode (a built-in set has none, but the time of ``embedding``), ``roles`` the exact
    rankings by vectors among a sample of ``pool_concepts`` concepts with ``pool_texts`` texts.
    """

    name: str
    settings: dict[str, Any]
    searches: list[SearchRanking] = field(default_factory=list)
    embedding: Latency | None = None
    roles: list[RoleRanking] = field(default_factory=list)
    pool_concepts: int = 0
    pool_texts: int = 0

    @property
    def compared(self) -> dict[str | None, Ranking]:
        """The rankings by which it is compared: of the searches, by mode; else, by None, the one in the right roles."""
        if self.searches:
            return {search.mode: search.ranking for search in self.searches}
        return {None: next(role.ranking for role in self.roles if role.is_right)}


@dataclass(frozen=True)
class Comparison:
    """The paired test of two rankings of so many queries, ``first`` minus ``second``.

    They are of two configurations in one mode or of two modes of one configuration; in a built-in set modes are None.
    """

    first: str
    first_mode: str | None
    second: str
    second_mode: str | None
    queries: int
    test: PairedTest


@dataclass
class Evaluation:
    """The result: gold queries, and what each configuration made of them.

    ``names`` has the name and ``groups`` the vocabulary (in a built-in set the chapter) of each wanted concept.
    """

    source: str
    builtin: bool
    options: Options
    queries: list[GoldQuery]
    names: dict[Key, str]
    groups: dict[Key, str]
    configurations: list[ConfigurationResult] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
