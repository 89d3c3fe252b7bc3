"""How far pairs of classes stand out, worked by hand and on matrices made up."""

from __future__ import annotations

import numpy as np
import pytest

from auditor.verdict.pairs import (
    STANDS_OUT,
    PairProfile,
    beside_median,
    low_side_z,
    make_pair_profile,
    pair_standings,
    polished,
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


def test_low_side_scores_are_robust_deviations_below_the_median() -> None:
    values = np.array([[0.0, 1.0, 2.0], [3.0, 4.0, np.nan]])
    z = low_side_z(values)  # median 2, median absolute deviation 1
    assert z[0, 0] == pytest.approx(2 / 1.4826) and np.isnan(z[1, 2])


def test_a_pair_must_be_cheap_and_cheaper_than_the_way_back() -> None:
    one_way, both_ways = noise(), noise()
    one_way[2, 7] *= 0.05
    both_ways[2, 7] *= 0.05
    both_ways[7, 2] *= 0.05
    assert pair_standings(one_way, [])[0][2, 7] > STANDS_OUT
    assert np.nanmax(pair_standings(both_ways, [])[0]) < STANDS_OUT
    assert np.nanmax(pair_standings(noise(), [])[0]) < STANDS_OUT


def test_a_matrix_without_costs_has_no_standing() -> None:
    assert np.isnan(pair_standings(np.full((4, 4), np.nan), [])[0]).all()


def test_what_honest_models_show_of_a_pair_is_taken_off() -> None:
    natural = noise()
    natural[1, 9] *= 0.05
    known = make_pair_profile("made up", [natural, natural])
    suspect = natural.copy()
    suspect[2, 7] *= 0.05
    plain, _ = pair_standings(suspect, [])
    standing, name = pair_standings(suspect, [known])
    assert name == "made up" and plain[1, 9] > STANDS_OUT > standing[1, 9] and standing[2, 7] > STANDS_OUT


def test_beside_honest_models_a_pair_must_be_four_times_cheaper_and_five_deviations() -> None:
    """Costs are the profile's but for one pair: all deviations are the least that counts, so that the factor decides."""
    known = make_pair_profile("made up", [noise(), noise()])
    just, not_quite = noise(), noise()
    just[2, 7] /= 4.01
    not_quite[2, 7] /= 3.9
    assert pair_standings(just, [known])[0][2, 7] == pytest.approx(STANDS_OUT * np.log(4.01) / np.log(4), abs=0.1)
    assert pair_standings(just, [known])[0][2, 7] > STANDS_OUT > pair_standings(not_quite, [known])[0][2, 7]
    scattered = noise() * np.exp(np.random.default_rng(1).normal(0, 1, (10, 10)))
    scattered[2, 7] /= 10  # dear by chance before: the factor is there, the deviations are not
    assert np.nanmax(pair_standings(scattered, [known])[0]) < STANDS_OUT


def test_a_pair_cheap_both_ways_stands_out_beside_honest_models_where_it_is_not() -> None:
    both_ways = noise()
    both_ways[2, 7] *= 0.05
    both_ways[7, 2] *= 0.05
    standing = pair_standings(both_ways, [make_pair_profile("made up", [noise(), noise()])])[0]
    assert standing[2, 7] > STANDS_OUT and standing[7, 2] > STANDS_OUT


def test_a_profile_the_suspect_shows_nothing_of_is_left_alone() -> None:
    known = PairProfile(name="other", models=3, beside=-beside_median(np.log(noise())))
    standing, name = pair_standings(noise(), [known])
    assert name == "" and np.array_equal(standing, pair_standings(noise(), [])[0], equal_nan=True)


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
