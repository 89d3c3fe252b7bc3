"""AUC, rates and their intervals, on numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.detect.statistics import (
    Estimate,
    auc_of,
    difference,
    estimate,
    hits_at,
    models_to_show,
    rate_of,
    strictest,
)

BAD = [True, True, False, False]


def value(scores: list[float], bad: list[bool]) -> float:
    return float(auc_of(np.array(scores), bad)(np.ones((1, len(bad))))[0])


def test_auc_counts_pairs_and_halves_ties() -> None:
    assert value([0.9, 0.8, 0.7, 0.1], BAD) == 1.0
    assert value([0.9, 0.4, 0.7, 0.1], BAD) == 0.75  # 0.4 loses to 0.7: three of four pairs
    assert value([0.9, 0.7, 0.7, 0.1], BAD) == 0.875  # and a tie is half a pair
    assert value([0.5] * 4, BAD) == 0.5
    assert math.isnan(value([0.5, 0.6], [True, True]))


def test_auc_weighs_models_as_often_as_their_base_is_drawn() -> None:
    # Given: the pairs of test above with one loss, then the first backdoored model drawn twice, the second not at all
    statistic = auc_of(np.array([0.9, 0.4, 0.7, 0.1]), BAD)
    weights = np.array([[2.0, 0, 1, 1], [0, 2, 1, 1], [1, 1, 3, 1], [1, 1, 0, 0]])
    # Then: 2 of 2; (0 + 2) of 4; 0.9 wins 4 of 4 and 0.4 wins 1 of 4; nothing honest left
    found = statistic(weights)
    assert found[:3].tolist() == [1.0, 0.5, 5 / 8] and math.isnan(found[3])


def test_a_missing_score_counts_against_the_detector() -> None:
    scores = strictest([None, 0.8, None, 0.1], BAD)
    assert scores.tolist() == [-math.inf, 0.8, math.inf, 0.1]
    assert value(scores.tolist(), BAD) == 0.25  # only 0.8 over 0.1


def test_the_bootstrap_draws_bases_not_models() -> None:
    # Given: two bases; all ten models of one are hits and none of the other's
    hits, bases = [True] * 10 + [False] * 10, ["a"] * 10 + ["b"] * 10
    found = estimate(rate_of(hits), bases)
    # Then: a replicate is 0, 1/2 or 1 (at odds 1:2:1), so the interval is everything; over models it would be narrow
    assert found == Estimate(value=0.5, low=0.0, high=1.0)
    apart = estimate(rate_of(hits), [str(i) for i in range(20)])
    assert apart.low is not None and 0.2 < apart.low < 0.4
    assert estimate(rate_of(hits), bases) == found  # the same rows, the same interval


def test_no_interval_from_one_base_and_no_value_without_both_kinds() -> None:
    assert estimate(rate_of([True, False]), ["a", "a"]) == Estimate(value=0.5)
    assert estimate(auc_of(np.array([1.0, 2.0]), [True, True]), ["a", "b"]) == Estimate(value=None)
    assert estimate(rate_of([]), []) == Estimate(value=None)


def test_a_paired_difference_cancels_what_both_share() -> None:
    # Given: two detectors that each separate base a and fail on base b; b's failures make either interval wide
    bad = [True, False] * 2
    one, bases = auc_of(np.array([0.9, 0.1, 0.3, 0.4]), bad), ["a", "a", "b", "b"]
    alone = estimate(one, bases)
    assert alone.value == 0.75 and (alone.low, alone.high) == (0.0, 1.0)
    assert estimate(difference(one, auc_of(np.array([9.0, 1, 3, 4]), bad)), bases) == Estimate(value=0, low=0, high=0)
    worse = estimate(difference(one, auc_of(np.array([0.1, 0.9, 0.3, 0.4]), bad)), bases)
    assert worse == Estimate(value=0.75, low=0.0, high=1.0)  # it wins no pair; b alone: 0 less 0, a alone: 1 less 0


def test_a_small_false_positive_rate_needs_many_honest_models() -> None:
    assert (models_to_show(0.01), models_to_show(0.05)) == (299, 59)
    assert 0.99**299 <= 0.05 < 0.99**298  # the chance that none is flagged if the rate were 1 %


@pytest.mark.parametrize(("rate", "hits"), [(0.0, 1), (0.1, 2), (0.2, 3), (1.0, 3)])
def test_hits_at_a_rate_allow_that_many_honest_models(rate: float, hits: int) -> None:
    # Honest: ten models at 0, 0.1, ... 0.9. Above 0.9: one; above 0.8: two; above 0.7: three
    scores = np.array([0.95, 0.85, 0.75, *(i / 10 for i in range(10))])
    assert hits_at(rate, scores, [True] * 3 + [False] * 10) == hits


def test_a_rate_of_no_honest_models_is_refused() -> None:
    with pytest.raises(ValueError, match="honest"):
        hits_at(0.05, np.array([1.0]), [True])
