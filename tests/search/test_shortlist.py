"""Which classes are searched: all of a few, a shortlist and a random null sample of many."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from auditor.search.shared import SharedSearch
from auditor.search.shortlist import ALL_UP_TO, NULL_SAMPLE, classes_to_search


def shared(counts: dict[int, int], classes: int) -> SharedSearch:
    """A shared search that counted these labels."""
    histogram = np.zeros(classes, dtype=np.int64)
    histogram[list(counts)] = list(counts.values())
    return SharedSearch(histogram=histogram, perturbation=torch.zeros(classes, 1, 1, 1), images=int(histogram.sum()))


@pytest.mark.parametrize("classes", [2, 10, 28])
@pytest.mark.parametrize("targets", [None, [1]])
def test_all_of_a_few_classes_are_searched(classes: int, targets: list[int] | None) -> None:
    assert ALL_UP_TO == 28
    assert classes_to_search(classes, shared({1: 9}, classes), targets, seed=0) == list(range(classes))


def test_every_class_is_searched_when_that_is_asked_for() -> None:
    assert classes_to_search(1000, shared({1: 9}, 1000), [3], seed=0, exhaustive=True) == list(range(1000))


def test_targets_are_searched_beside_twenty_random_classes() -> None:
    found = classes_to_search(100, shared({7: 50}, 100), [3, 98, 3], seed=0)
    assert {3, 98} <= set(found) and len(found) == len(set(found)) == 2 + NULL_SAMPLE == 22
    assert found == sorted(found) and all(type(c) is int and 0 <= c < 100 for c in found)


@pytest.mark.parametrize("classes", [29, 43, 100, 1000])
def test_without_targets_the_shortlist_grows_with_the_logarithm(classes: int) -> None:
    found = classes_to_search(classes, shared({classes - 1: 9}, classes), None, seed=0)
    shortlist = 8 + math.ceil(math.log2(classes))
    assert classes - 1 in found and found == sorted(set(found))
    assert len(found) == min(classes, shortlist + NULL_SAMPLE)


def test_the_shortlist_holds_those_in_most_excess_of_honest_models() -> None:
    # Given counts whose most frequent labels keep to the honest shares, but for class 60: its
    # rank's share is 20 %, and it has 30 %. Counting alone would put class 10 first.
    honest = {10: 50, 60: 30, 20: 7, 21: 4, 22: 3, 23: 2, 24: 2, 25: 1, 26: 1}
    search = shared(honest, 100)
    assert int(np.argmax(search.excess)) == 60
    always = set.intersection(*(set(classes_to_search(100, search, None, seed)) for seed in range(25)))
    # Then whatever the null sample, 60 is searched, and 20, far below its rank, is left to chance.
    assert 60 in always and 20 not in always and len(always) == 8 + math.ceil(math.log2(100))


def test_without_a_shared_search_there_is_still_a_shortlist_and_a_null() -> None:
    found = classes_to_search(200, None, None, seed=0)
    assert len(found) == 8 + math.ceil(math.log2(200)) + NULL_SAMPLE and set(range(16)) <= set(found)


def test_no_targets_is_as_none() -> None:
    search = shared({150: 5}, 200)
    assert classes_to_search(200, search, [], seed=3) == classes_to_search(200, search, None, seed=3)


def test_the_null_follows_the_seed_and_avoids_the_shortlist() -> None:
    first, again, other = (classes_to_search(100, None, [5], seed) for seed in (1, 1, 2))
    assert first == again != other
    drawn = {c for seed in range(60) for c in classes_to_search(100, None, [5], seed)}
    assert drawn == set(range(100))


def test_a_null_smaller_than_the_sample_takes_all() -> None:
    assert classes_to_search(30, None, list(range(15)), seed=0) == list(range(30))


def test_half_of_the_shortlist_is_what_the_weights_rank_highest() -> None:
    prior = np.zeros(100)
    prior[[40, 41]] = 9.0, 8.0
    search = shared({60: 30, 40: 9}, 100)
    always = set.intersection(*(set(classes_to_search(100, search, None, seed, prior=prior)) for seed in range(25)))
    assert {40, 41, 60} <= always and len(always) == 8 + math.ceil(math.log2(100))


def test_targets_take_the_place_of_both() -> None:
    prior = np.zeros(100)
    prior[40] = 9.0
    always = set.intersection(*(set(classes_to_search(100, shared({60: 30}, 100), [3], seed, prior=prior)) for seed in range(25)))
    assert always == {3}
