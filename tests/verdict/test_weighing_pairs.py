"""Pairs that stand out, searched once more in parts: what must stand out again, and flip what it has not seen."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from planted import CLASSES, TARGET, planted_images
from planted_sources import SOURCE, honest, source_specific

from auditor.events import Control, Notice, SourceSearchStep, drain
from auditor.search.sources import Pair, SourceSearch, search_sources
from auditor.suspect import Suspect
from auditor.verdict import weighing_pairs
from auditor.verdict.pairs import expected_costs
from auditor.verdict.sources import SourceLead, sentence
from auditor.verdict.weighing_pairs import LOOKED_AT_AGAIN, PARTS, look_again, parts, standing_first, weigh_pairs

IMAGES, LABELS = planted_images(60)
OF_SOURCE = int((LABELS == SOURCE).sum())


@functools.cache
def searched(make: Callable[[], Suspect]) -> SourceSearch:
    return drain(search_sources(make(), IMAGES, LABELS, seed=0, control=Control(), with_steps=False, pairs_on=(IMAGES, LABELS)))


def weighed(make: Callable[[], Suspect], images=IMAGES, labels=LABELS, found: SourceSearch | None = None) -> list[SourceLead]:
    return drain(weigh_pairs(make(), found or searched(make), images, labels, seed=0, control=Control()))


def test_a_planted_pair_stands_out_again_and_flips_every_image_of_its_class() -> None:
    (lead,) = weighed(source_specific)
    assert (lead.triggers[0].source_classes, lead.triggers[0].target_class) == ([SOURCE], TARGET)
    assert lead.cross_fitted and lead.rate.total == OF_SOURCE and lead.rate.hits > OF_SOURCE / 2 and lead.confirmed
    assert lead.standing > 1 and lead.cheaper > 4
    # Every part's trigger is there to be unlearned, with how it did on its own part, the cheapest first.
    assert len(lead.triggers) == len(lead.rates) == PARTS and sum(rate.total for rate in lead.rates) == OF_SOURCE


def test_no_pair_of_an_honest_network_stands_out() -> None:
    assert not weighed(honest)


def test_a_pair_that_stood_out_by_chance_does_not_do_so_again() -> None:
    """The costs of the backdoored network, the honest one to search again."""
    again = drain(look_again(honest(), searched(source_specific), IMAGES, LABELS, seed=0, control=Control()))
    pair = next(lead for lead in again if (lead.triggers[0].source_classes, lead.triggers[0].target_class) == ([SOURCE], TARGET))
    assert pair.standing < 1 and not weighed(honest, found=searched(source_specific))


def test_every_image_is_left_out_of_the_search_it_is_tried_by(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = weighing_pairs.search_pairs

    def search(suspect, images, labels, pairs, shown_MN, **how):  # type: ignore[no-untyped-def]
        calls.append((labels, pairs, shown_MN))
        return (yield from real(suspect, images, labels, pairs, shown_MN, **how))

    monkeypatch.setattr(weighing_pairs, "search_pairs", search)
    weighed(source_specific)
    ((labels, pairs, shown_MN),) = calls
    of_pair = [shown for pair, shown in zip(pairs, shown_MN, strict=True) if pair == Pair(SOURCE, TARGET)]
    left_out = torch.stack([(labels == SOURCE) & ~shown for shown in of_pair])
    assert len(of_pair) == PARTS and torch.equal(left_out.sum(0), (labels == SOURCE).long())


def test_parts_are_even_within_every_class() -> None:
    labels = torch.tensor([0] * 7 + [1] * 3)
    of_zero, of_one = (torch.bincount(parts(labels)[labels == k], minlength=PARTS).tolist() for k in (0, 1))
    assert of_zero == [2, 2, 1, 1, 1] and of_one == [1, 1, 1, 0, 0]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_source_with_too_few_images_is_not_looked_at_again(count: int) -> None:
    some = torch.nonzero(LABELS == SOURCE)[:count, 0]
    kept = torch.cat([some, torch.nonzero(LABELS != SOURCE)[:, 0]])
    assert not weighed(source_specific, IMAGES[kept], LABELS[kept], searched(source_specific))


def test_a_stop_leaves_nothing_that_stands_out() -> None:
    control = Control()
    control.stop()
    assert drain(weigh_pairs(source_specific(), searched(source_specific), IMAGES, LABELS, seed=0, control=control)) == []


def test_no_more_pairs_are_looked_at_again_than_a_few() -> None:
    """Weights made for it could let every pair stand out."""
    told = []
    steps = look_again(source_specific(), searched(source_specific), IMAGES, LABELS, seed=0, control=Control())
    try:
        while True:
            told.append(next(steps))
    except StopIteration as done:
        assert len(done.value) == LOOKED_AT_AGAIN
    assert [type(event) for event in told[:1]] == [Notice] and {type(event) for event in told[1:]} == {SourceSearchStep}


def test_the_cheapest_beside_what_they_should_cost_come_first_and_only_toward_those_asked_for() -> None:
    cost = np.full((CLASSES, CLASSES), 1.0)
    np.fill_diagonal(cost, np.nan)
    cost[3, 2], cost[1, 0] = 0.01, 0.1
    found = SourceSearch(cost=cost)
    pairs = standing_first(found, expected_costs(cost, []), LABELS)
    assert pairs[:2] == [Pair(3, 2), Pair(1, 0)] and len(pairs) == CLASSES * (CLASSES - 1)
    assert {pair.target for pair in standing_first(found, expected_costs(cost, []), LABELS, [0])} == {0}


def test_a_sentence_says_how_much_cheaper_it_is_and_by_which_triggers_images_flip() -> None:
    (lead,) = weighed(source_specific)
    said = sentence(lead, [])
    assert f"at {1 / lead.cheaper:.1%} of what it should cost" in said
    assert f"of {OF_SOURCE} images of that class {lead.rate.hits} flip by a trigger searched without them" in said
