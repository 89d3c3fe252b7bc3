"""Class profiles by hand: the shared slope, what is left of the costs, and how a profile is made."""

from __future__ import annotations

import numpy as np
import pytest

from auditor.verdict.profiles import Profile, make_profile, profiled_scores, shared_slope
from auditor.verdict.statistics import outlier_scores

NAN = np.nan
PROFILE = np.array([[0.0, 0.4, -0.6, 0.2, 0.1, -0.3, 0.5, -0.1, 0.3, -0.5]])
NONE = np.full((1, 10), NAN)


def test_the_slope_is_the_weighted_median_over_pairs_of_classes() -> None:
    # Given three classes: slopes 2 (weight 1), 0.5 (weight 2) and 1 (weight 3).
    slope = shared_slope(np.array([[0.0, 2.0, 3.0]]), np.array([[0.0, 1.0, 3.0]]))
    assert slope == pytest.approx(1.0)


@pytest.mark.parametrize(("share", "expected"), [(1.0, 1.0), (0.5, 0.5), (0.0, 0.0), (-1.0, 0.0), (3.0, 1.0)])
def test_the_slope_says_how_much_of_the_profile_is_shown(share: float, expected: float) -> None:
    assert shared_slope(5 + share * PROFILE, PROFILE) == pytest.approx(expected)


def test_one_cheap_target_does_not_move_the_slope() -> None:
    costs = 1 + PROFILE.copy()
    costs[0, 3] -= 2.0
    assert shared_slope(costs, PROFILE) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("profile", [NONE, np.zeros((1, 10)), np.where(np.arange(10) == 0, 1.0, NAN)[None]])
def test_without_two_classes_told_apart_there_is_no_slope(profile: np.ndarray) -> None:
    assert shared_slope(PROFILE, profile) == 0.0


def test_outliers_are_sought_in_what_is_left() -> None:
    # Given a model that repeats the profile, in which the cheapest class is no target but class 3 is.
    log_cost = -3 + PROFILE.copy()
    log_cost[0, 3] -= 0.7
    plain, _ = profiled_scores(np.exp(log_cost), NONE, None)
    left, slope = profiled_scores(np.exp(log_cost), NONE, PROFILE)
    assert plain[0].argmax() != 3 or plain[0, 3] < 3
    assert left[0].argmax() == 3 and left[0, 3] == pytest.approx(0.7 / 0.15, rel=0.05) and slope == pytest.approx(1, abs=0.02)


def test_another_data_set_changes_nothing_much() -> None:
    cost = np.exp(np.array([[0.3, -0.2, 0.1, 0.0, 0.25, 0.3, -0.15, 0.05, -0.3, -0.1]]))
    left, slope = profiled_scores(cost, NONE, PROFILE)
    assert slope == 0.0
    np.testing.assert_allclose(left[0], outlier_scores(cost[0]))


def test_a_family_known_for_few_classes_keeps_its_costs() -> None:
    few = np.where(np.arange(10) < 7, PROFILE, NAN)
    cost = np.exp(PROFILE)
    left, slope = profiled_scores(cost, NONE, few)
    assert slope == pytest.approx(1.0)
    np.testing.assert_allclose(left[0], outlier_scores(cost[0]))


def test_bounds_are_taken_relative_to_the_profile_too() -> None:
    cost, bound = np.exp(PROFILE.copy()), np.full((1, 10), NAN)
    cost[0, 2], bound[0, 2] = NAN, 9.0
    left, _ = profiled_scores(cost, bound, PROFILE)
    assert left[0, 2] < 0 and np.isfinite(left).all()


def test_a_profile_is_the_median_of_centred_models_where_most_found_a_trigger() -> None:
    costs = [
        {"patch": np.array([1.0, 2.0, 3.0]), "warp": np.array([NAN, NAN, NAN])},
        {"patch": np.array([11.0, 13.0, NAN])},
        {"patch": np.array([0.0, 4.0, NAN])},
    ]
    made = make_profile("toy", costs)
    assert (made.name, made.models, made.classes) == ("toy", 3, 3) and set(made.log_cost) == {"patch"}
    np.testing.assert_allclose(made.log_cost["patch"], [-1.0, 1.0, NAN])


def test_a_profile_is_read_for_the_classes_that_were_searched() -> None:
    profile = Profile(name="toy", models=1, log_cost={"patch": np.array([0.1, 0.2, 0.3, 0.4])})
    np.testing.assert_allclose(profile.over(["patch", "warp"], [3, 0]), [[0.4, 0.1], [NAN, NAN]])
