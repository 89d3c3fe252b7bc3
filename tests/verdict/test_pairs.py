"""How far pairs of classes stand out, worked by hand and on matrices made up."""

from __future__ import annotations

import numpy as np
import pytest

from auditor.verdict.pairs import (
    CHEAPER,
    DEVIATIONS,
    LEAST_SCALE,
    PairProfile,
    beside_median,
    expected_costs,
    make_pair_profile,
    polished,
    scatter,
    shared,
    shipped,
)


def noise(classes: int = 10) -> np.ndarray:
    cost = np.exp(np.random.default_rng(0).normal(0, 0.3, (classes, classes)))
    np.fill_diagonal(cost, np.nan)
    return cost


def test_median_polish_takes_off_what_rows_and_columns_have_in_common() -> None:
    rows, columns = np.array([[1.0], [2.0], [4.0]]), np.array([[0.0, 3.0, 5.0]])
    values = rows + columns
    values[0, 2] += 7
    left = polished(values)
    assert left[0, 2] == pytest.approx(7) and np.abs(left).sum() == pytest.approx(7)


def standings(cost: np.ndarray, profiles: list[PairProfile]) -> np.ndarray:
    expected = expected_costs(cost, profiles)
    return np.array([[expected.standing(s, t, float(np.log(cost[s, t]))) for t in range(len(cost))] for s in range(len(cost))])


def test_scatter_is_the_median_absolute_deviation() -> None:
    values = np.array([[0.0, 1.0, 2.0], [3.0, 4.0, np.nan]])  # median 2, median absolute deviation 1
    assert scatter(values) == pytest.approx(1.4826)
    assert scatter(np.zeros((2, 2))) == scatter(np.full((2, 2), np.nan)) == LEAST_SCALE


def test_a_pair_must_be_cheap_and_cheaper_than_the_way_back() -> None:
    one_way, both_ways = noise(), noise()
    one_way[2, 7] *= 0.05
    both_ways[2, 7] *= 0.05
    both_ways[7, 2] *= 0.05
    assert standings(one_way, [])[2, 7] > 1
    assert np.nanmax(standings(both_ways, [])) < 1 and np.nanmax(standings(noise(), [])) < 1


def test_a_matrix_without_costs_expects_none() -> None:
    assert np.isnan(expected_costs(np.full((4, 4), np.nan), []).log_cost).all()


def test_what_honest_models_show_of_a_pair_is_taken_off() -> None:
    natural = noise()
    natural[1, 9] *= 0.05
    known = make_pair_profile("made up", [natural, natural])
    suspect = natural.copy()
    suspect[2, 7] *= 0.05
    with_it = standings(suspect, [known])
    assert expected_costs(suspect, [known]).profile == "made up" and standings(suspect, [])[1, 9] > 1
    assert with_it[1, 9] < 1 < with_it[2, 7]


def test_beside_honest_models_a_pair_must_be_cheaper_by_a_factor_and_by_deviations() -> None:
    """Costs are the profile's but for one pair: all deviations are the least that counts, so that the factor decides."""
    known = make_pair_profile("made up", [noise(), noise()])
    expected = expected_costs(noise(), [known])
    should = float(expected.log_cost[2, 7])
    assert expected.scatter == LEAST_SCALE and should == pytest.approx(np.log(noise()[2, 7]))
    assert expected.standing(2, 7, should - np.log(CHEAPER)) == pytest.approx(1)
    assert expected.standing(2, 7, should - 2 * np.log(CHEAPER)) == pytest.approx(2) and expected.standing(2, 7, should) == 0
    scattered = expected_costs(noise() * np.exp(np.random.default_rng(1).normal(0, 1, (10, 10))), [known])
    most = DEVIATIONS * scattered.scatter  # more than the factor
    assert most > np.log(CHEAPER) and scattered.standing(2, 7, float(scattered.log_cost[2, 7]) - most) == pytest.approx(1)


def test_a_pair_cheap_both_ways_stands_out_beside_honest_models_where_it_is_not() -> None:
    both_ways = noise()
    both_ways[2, 7] *= 0.05
    both_ways[7, 2] *= 0.05
    found = standings(both_ways, [make_pair_profile("made up", [noise(), noise()])])
    assert found[2, 7] > 1 and found[7, 2] > 1


def test_a_profile_the_suspect_shows_nothing_of_is_left_alone() -> None:
    known = PairProfile(name="other", models=3, beside=-beside_median(np.log(noise())))
    assert expected_costs(noise(), [known]).profile == ""
    assert np.array_equal(standings(noise(), [known]), standings(noise(), []), equal_nan=True)


def test_how_much_of_a_profile_is_shown_is_a_slope() -> None:
    profile = np.array([[np.nan, 1.0], [-2.0, np.nan]])
    assert shared(profile / 2, profile) == pytest.approx(0.5)
    assert shared(3 * profile, profile) == 1 and shared(-profile, profile) == 0
    assert shared(np.full((2, 2), np.nan), profile) == 0


def test_a_profile_has_no_pair_that_no_model_has() -> None:
    one, other = noise(), noise()
    one[3, 4] = other[3, 4] = one[0, 1] = np.nan
    beside = make_pair_profile("made up", [one, other]).beside
    assert np.isnan(beside[3, 4]) and np.isfinite(beside[0, 1])


def test_the_shipped_profiles_are_whole() -> None:
    for profile in shipped():
        assert profile.models > 1 and profile.beside.shape[0] == profile.beside.shape[1]
        assert np.isfinite(profile.beside[~np.eye(len(profile.beside), dtype=bool)]).all()
