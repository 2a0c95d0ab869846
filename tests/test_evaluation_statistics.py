"""Measures, intervals and tests of an evaluation against cases that can be worked out by hand."""

import itertools

import numpy as np
import pytest

from omop_emb.evaluation.statistics import (
    Estimate,
    bootstrap_intervals,
    hits,
    holm,
    measures,
    paired_tests,
    permutation_test,
    recall_curve,
    reciprocal_ranks,
)

RANKS = [1, 2, 5, 6, 100, 101, None]


def test_measures_of_known_ranks() -> None:
    assert list(reciprocal_ranks(RANKS)) == [1, 0.5, 0.2, 1 / 6, 0.01, 0, 0]
    assert list(hits(RANKS, 5)) == [1, 1, 1, 0, 0, 0, 0]
    found = measures(RANKS, seed=1)
    values = [found.hit_at_1.value, found.hit_at_5.value, found.hit_at_10.value, found.mrr.value]
    assert values == pytest.approx([1 / 7, 3 / 7, 4 / 7, (1 + 0.5 + 0.2 + 1 / 6 + 0.01) / 7])
    assert found.hit_at_1.low == 0 < found.hit_at_1.value < found.hit_at_1.high < 1


def test_the_recall_curve_ends_at_100() -> None:
    curve = recall_curve(RANKS)
    assert len(curve) == 100
    assert [curve[k - 1] for k in (1, 2, 4, 5, 6, 99, 100)] == [n / 7 for n in (1, 2, 2, 3, 4, 4, 5)]


def test_equal_values_have_an_interval_without_width_even_when_their_sums_do_not() -> None:
    assert bootstrap_intervals(np.full((7, 1), 0.1), seed=1) == [Estimate(0.1, 0.1, 0.1)]


def test_the_interval_of_a_share_is_that_of_the_binomial_distribution() -> None:
    # The bootstrap mean of 40 hits in 100 is Binomial(100, 0.4) / 100, whose 2.5 and 97.5 % points are 31 and 50.
    found = bootstrap_intervals(np.array([[1.0]] * 40 + [[0.0]] * 60), seed=3)[0]
    assert (found.value, found.low, found.high) == pytest.approx((0.4, 0.31, 0.50), abs=0.011)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(5)
    samples = generator.exponential(size=(200, 300))
    found = bootstrap_intervals(samples, seed=2, resamples=2000)
    assert 280 > sum(estimate.low <= 1 <= estimate.high for estimate in found) * 280 / 300 > 245


def test_same_seed_same_interval() -> None:
    values = np.arange(20.0)[:, None]
    assert bootstrap_intervals(values, seed=1) == bootstrap_intervals(values, seed=1)
    assert bootstrap_intervals(values, seed=1) != bootstrap_intervals(values, seed=2)


@pytest.mark.parametrize(
    ("differences", "p_value"),
    [
        ([0.0, 0.0], 1.0),
        ([0.3], 1.0),
        ([0.1, 0.2, 0.3, 0.4, 0.5], 2 / 32),
        ([1.0, 1.0, 1.0, -1.0, 0.0], 10 / 16),
        ([-0.1] * 10, 2 / 1024),
    ],
)
def test_exact_permutation_tests(differences: list[float], p_value: float) -> None:
    assert permutation_test(np.array(differences), seed=1) == p_value


def test_a_sampled_permutation_test_agrees_with_all_signs() -> None:
    differences = np.random.default_rng(4).normal(0.3, 1, size=16)
    signs = np.array(list(itertools.product((-1, 1), repeat=16)))
    exact = float(np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9))
    assert 0.02 < exact < 0.9
    assert permutation_test(differences, seed=1) == pytest.approx(exact, abs=0.012)
    assert permutation_test(np.ones(50), seed=1, permutations=999) == 0.001


def test_a_permutation_test_rejects_as_often_as_it_may() -> None:
    generator = np.random.default_rng(6)
    p_values = [permutation_test(generator.normal(size=12), seed=1) for _ in range(200)]
    assert sum(p <= 0.05 for p in p_values) <= 20


def test_holm() -> None:
    # Holm 1979: 3 x 0.01, 2 x 0.02, then never less than the one before.
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9, 0.6]) == [1.0, 1.0, 1.0]
    assert holm([]) == []


def test_paired_tests() -> None:
    better, worse = [1] * 8 + [None], [2] * 8 + [None]
    first, second = paired_tests([(worse, better), (better, better)], seed=1)
    assert (first.better, first.worse, second.better, second.worse) == (0, 8, 0, 0)
    assert first.difference.value == pytest.approx(-4 / 9)
    assert first.difference.high < 0
    assert (first.p_value, first.p_holm) == (2 / 256, 4 / 256)
    assert second.difference == Estimate(0.0, 0.0, 0.0)
    assert second.p_holm == 1.0
