"""Outlier scores and family-wise p-values, checked against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from auditor.verdict.statistics import MIN_CLASSES, SPREAD_FLOOR, family_wise_p, outlier_scores


def test_golden_scores() -> None:
    # Given log costs 0 and 1 to 5: for the first, the others have median 3 and median deviation 1
    cost_K = np.exp(np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0]))

    z_K = outlier_scores(cost_K)

    assert z_K[0] == pytest.approx(3 / 1.4826)
    # The last: the others are 0 to 4, of median 2 and median deviation 1.
    assert z_K[5] == pytest.approx(-3 / 1.4826)


def test_the_floor_stands_in_for_a_spread_of_nothing() -> None:
    cost_K = np.array([0.5, 1.0, 1.0, 1.0, 1.0])

    z_K = outlier_scores(cost_K)

    assert z_K[0] == pytest.approx(math.log(2) / SPREAD_FLOOR)
    assert z_K[1:] == pytest.approx([0.0] * 4)


def test_a_cheap_class_does_not_hide_itself_nor_lift_the_others() -> None:
    """Each class is judged by the others alone."""
    cost_K = np.array([0.01, 0.9, 1.0, 1.1, 1.2, 0.95])

    z_K = outlier_scores(cost_K)

    assert np.argmax(z_K) == 0
    assert z_K[0] > 10
    assert np.abs(z_K[1:]).max() < 3


def test_scores_do_not_depend_on_the_unit_of_cost() -> None:
    cost_K = np.random.default_rng(0).uniform(0.1, 1, 10)

    np.testing.assert_allclose(outlier_scores(1000 * cost_K), outlier_scores(cost_K), atol=1e-9)


def test_scores_follow_their_classes() -> None:
    cost_K = np.random.default_rng(1).uniform(0.1, 1, 10)
    order = np.random.default_rng(2).permutation(10)

    np.testing.assert_allclose(outlier_scores(cost_K[order]), outlier_scores(cost_K)[order])


def test_cheaper_is_more_suspicious() -> None:
    scores = [outlier_scores(np.array([own, 0.9, 1.0, 1.1, 1.2, 0.95]))[0] for own in (0.8, 0.4, 0.2, 0.1)]

    assert scores == sorted(scores)
    assert scores[0] < scores[-1]


def test_a_class_without_a_trigger_counts_as_dear_and_is_never_suspicious() -> None:
    # Given a class that needs more than was ever found, among costs that rise
    cost_K = np.array([0.1, 1.0, np.nan, 1.2, 1.1])

    z_K = outlier_scores(cost_K)

    assert z_K[2] <= 0
    assert z_K[0] > 5
    assert np.isfinite(z_K).all()


@pytest.mark.parametrize("cost_K", [[0.01] + [1.0] * (MIN_CLASSES - 2), [np.nan] * 6, []])
def test_too_little_to_compare(cost_K: list[float]) -> None:
    z_K = outlier_scores(np.array(cost_K, dtype=float))

    assert z_K.shape == (len(cost_K),)
    assert np.isnan(z_K).all()


@pytest.mark.parametrize(("z", "tests", "p"), [(0.0, 1, 0.5), (1.6449, 1, 0.05), (1.96, 2, 0.05), (2.3263, 5, 0.05),
                                                (0.0, 10, 1.0), (-3.0, 1, 0.99865)])  # fmt: skip
def test_golden_p_values(z: float, tests: int, p: float) -> None:
    assert family_wise_p(z, tests) == pytest.approx(p, rel=1e-3)


def test_p_values_of_extreme_scores_stay_in_range() -> None:
    assert 0 <= family_wise_p(60.0, 20) < 1e-100
    assert family_wise_p(-60.0, 20) == 1.0
