"""What a caller chooses: index, metric and which concepts count."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

LARGEST_INTEGER = 2**31 - 1


class IndexType(StrEnum):
    """How vectors are searched: all of them compared (FLAT), or by the approximate HNSW index."""

    FLAT = "flat"
    HNSW = "hnsw"


class MetricType(StrEnum):
    """How vectors are compared. HNSW has the configuration's ``distance`` only, FLAT any of these."""

    COSINE = "cosine"
    L2 = "l2"
    L1 = "l1"


@dataclass(frozen=True)
class EmbeddingConceptFilter:
    """Which concepts count; None is no restriction, an empty sequence matches nothing.

    ``require_standard`` keeps ``standard_concept = 'S'``, ``require_active`` concepts without an invalid_reason.
    ``limit`` is the most concepts to return (per query), at least 1; None leaves the default of the method.
    Raises ValueError for a limit below 1 and for a string where a sequence belongs.
    """

    concept_ids: Sequence[int] | None = None
    domains: Sequence[str] | None = None
    vocabularies: Sequence[str] | None = None
    require_standard: bool = False
    require_active: bool = False
    limit: int | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.limit is not None:
            checked_limit(self.limit)
        for name in ("concept_ids", "domains", "vocabularies"):
            if isinstance(getattr(self, name), str):
                raise ValueError(f"{name} is the string {getattr(self, name)!r}: give a sequence")

    def arguments(self) -> dict[str, Any]:
        """Return the values as SQL parameters."""
        ids = None if self.concept_ids is None else checked_ids(self.concept_ids)
        return {
            "concept_ids": ids,
            "domains": None if self.domains is None else list(self.domains),
            "vocabularies": None if self.vocabularies is None else list(self.vocabularies),
            "standard_only": self.require_standard,
            "valid_only": self.require_active,
        }


def checked_ids(concept_ids: Sequence[int]) -> list[int]:
    """Return the ids as a list; TypeError for what is no whole number, ValueError for one beyond 32 bits."""
    ids = [operator.index(number) for number in concept_ids]
    if strangers := [number for number in ids if abs(number) > LARGEST_INTEGER]:
        raise ValueError(f"concept id {strangers[0]} does not fit a 32-bit integer, as the CDM wants it")
    return ids


def checked_limit(limit: int) -> int:
    """Return the limit; ValueError unless it is a whole number from 1 to 2,147,483,647."""
    try:
        number = operator.index(limit)
    except TypeError:
        raise ValueError(f"limit is {limit!r}, it must be a whole number") from None
    if not 1 <= number <= LARGEST_INTEGER:
        raise ValueError(f"limit is {number}, it must be at least 1 and fit a 32-bit integer")
    return number
