"""Retrieval measures, bootstrap intervals and paired permutation tests, in numpy alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

CUTS = (1, 5, 10)
LAST_RANK = 100
RESAMPLES = 10_000
PERMUTATIONS = 20_000

_NUMBERS_AT_ONCE = 4_000_000
_EXACT_UP_TO = 14


@dataclass(frozen=True)
class Estimate:
    """A mean over queries with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Measures:
    """How well a ranking does: the share of queries whose concept is among the first k, and the MRR.

    ``mrr`` is the mean reciprocal rank; beyond rank 100 a query counts 0.
    """

    hit_at_1: Estimate
    hit_at_5: Estimate
    hit_at_10: Estimate
    mrr: Estimate


@dataclass(frozen=True)
class PairedTest:
    """The difference in MRR of two rankings of the same queries.

    ``p_value`` is two-sided, before and ``p_holm`` after the correction for the number of tests made together.
    """

    better: int
    worse: int
    difference: Estimate
    p_value: float
    p_holm: float


def reciprocal_ranks(ranks: Sequence[int | None]) -> Floats:
    """Return 1 / rank per query; 0 where nothing was found (None) or only beyond rank 100."""
    return np.array([1.0 / rank if rank is not None and rank <= LAST_RANK else 0.0 for rank in ranks], dtype=np.float64)


def hits(ranks: Sequence[int | None], k: int) -> Floats:
    """Return 1 per query whose rank is at most ``k``, else 0."""
    return np.array([1.0 if rank is not None and rank <= k else 0.0 for rank in ranks], dtype=np.float64)


def recall_curve(ranks: Sequence[int | None]) -> list[float]:
    """Return the share of queries found among the first k, for k = 1 to 100."""
    found = np.bincount([rank for rank in ranks if rank is not None and rank <= LAST_RANK], minlength=LAST_RANK + 1)
    return [float(share) for share in np.cumsum(found)[1:] / len(ranks)]


def bootstrap_intervals(columns: Floats, seed: int, resamples: int = RESAMPLES) -> list[Estimate]:
    """Return the mean of each column of ``columns`` (queries, measures) with its 95 % percentile interval.

    Queries are drawn with replacement, the same draws for every column: the percentile method of Efron and
    Tibshirani, An Introduction to the Bootstrap (1993), chapter 13. When all queries have the same value, as in a
    handful that are all found first, the interval has no width: it says nothing about queries of another kind.
    """
    size = len(columns)
    generator = np.random.default_rng(seed)
    means = np.empty((resamples, columns.shape[1]))
    step = max(1, _NUMBERS_AT_ONCE // size)
    for start in range(0, resamples, step):
        times_drawn = generator.multinomial(size, np.full(size, 1 / size), size=min(step, resamples - start))
        means[start : start + step] = times_drawn @ columns / size
    # Summed in floating point, equal values have means that differ in the last digit; 0.0 makes -0 a 0.
    rows = np.round([columns.mean(axis=0), *np.percentile(means, [2.5, 97.5], axis=0)], 12) + 0.0
    return [Estimate(*map(float, column)) for column in rows.T]


def measures(ranks: Sequence[int | None], seed: int) -> Measures:
    """Return the measures of a ranking with their 95 % bootstrap intervals over queries."""
    columns = np.stack([*(hits(ranks, k) for k in CUTS), reciprocal_ranks(ranks)], axis=1)
    return Measures(*bootstrap_intervals(columns, seed))


def permutation_test(differences: Floats, seed: int, permutations: int = PERMUTATIONS) -> float:
    """Return the two-sided p-value that paired ``differences`` have a mean of 0.

    Under the null hypothesis each difference might as well have the other sign (Smucker, Allan and Carterette, A
    Comparison of Statistical Significance Tests for Information Retrieval Evaluation, CIKM 2007). With at most 14
    differences other than 0 every assignment of signs is looked at; with more, ``permutations`` random ones, where the
    observed one counts too, so that p is never 0 (Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9, 2010).
    """
    values = differences[differences != 0]
    if not len(values):
        return 1.0
    # Sums of the same numbers in another order may differ in the last digits.
    at_least = abs(values.sum()) - 1e-9
    if len(values) <= _EXACT_UP_TO:
        bits = np.arange(2 ** len(values))[:, None] >> np.arange(len(values)) & 1
        return float(np.mean(np.abs((2 * bits - 1) @ values) >= at_least))
    generator = np.random.default_rng(seed)
    as_far = 0
    step = max(1, _NUMBERS_AT_ONCE // len(values))
    for start in range(0, permutations, step):
        count = min(step, permutations - start)
        signs = 2 * generator.integers(0, 2, size=(count, len(values)), dtype=np.int8) - 1
        as_far += int(np.sum(np.abs(signs @ values) >= at_least))
    return (1 + as_far) / (1 + permutations)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected for testing them together, in the given order.

    The step-down method of Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scand. J. Statist. 6 (1979).
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for place, position in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[position]))
        corrected[position] = highest
    return corrected


def paired_tests(pairs: Sequence[tuple[Sequence[int | None], Sequence[int | None]]], seed: int) -> list[PairedTest]:
    """Compare the MRR of each pair of rankings, first minus second, tested together.

    Both rankings of a pair are of the same queries in the same order.
    """
    differences = [reciprocal_ranks(first) - reciprocal_ranks(second) for first, second in pairs]
    p_values = [permutation_test(values, seed) for values in differences]
    return [
        PairedTest(
            better=int(np.sum(values > 0)),
            worse=int(np.sum(values < 0)),
            difference=bootstrap_intervals(values[:, None], seed)[0],
            p_value=p_value,
            p_holm=p_holm,
        )
        for values, p_value, p_holm in zip(differences, p_values, holm(p_values), strict=True)
    ]
