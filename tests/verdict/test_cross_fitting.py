"""Pairs confirmed on all images of the source class, each by a trigger that has not seen it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from planted import TARGET, planted_images
from planted_sources import SOURCE, honest, source_specific

from auditor.events import Control, drain
from auditor.search.sources import search_sources
from auditor.triggers import Trigger
from auditor.verdict import cross_fitting
from auditor.verdict.cross_fitting import FOLDS, cross_fitted_rate
from auditor.verdict.sources import weigh_sources

IMAGES, LABELS = planted_images(60)


def as_it_is(trigger: Trigger, cost: float) -> Trigger:
    return trigger


def test_a_planted_pair_flips_images_its_triggers_have_not_seen() -> None:
    rate = cross_fitted_rate(source_specific(), IMAGES, LABELS, SOURCE, TARGET, as_it_is, 0)
    assert rate is not None and rate.total == int((LABELS == SOURCE).sum()) and rate.hits > 0.8 * rate.total


def test_of_an_honest_network_fewer_flip_at_the_cost_of_a_backdoor() -> None:
    """A trigger as small as the planted one: an honest pair's, weakened to its cost, does nothing."""

    def as_small(trigger: Trigger, cost: float) -> Trigger:
        return replace(trigger, parameters=trigger.parameters | {"mask": trigger.parameters["mask"] * min(1.0, 0.004 / cost)})

    rate = cross_fitted_rate(honest(), IMAGES, LABELS, SOURCE, TARGET, as_small, 0)
    assert rate is not None and rate.hits == 0


def test_every_part_is_left_out_of_its_own_search_and_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, tried = [], []
    real = cross_fitting.search_pair

    def search(suspect, images, source, target, seed):  # type: ignore[no-untyped-def]
        seen.append({float(image.sum()) for image in images})
        return real(suspect, images, source, target, seed)

    def strengthen(trigger: Trigger, cost: float) -> Trigger:
        tried.append(cost)
        return trigger

    monkeypatch.setattr(cross_fitting, "search_pair", search)
    cross_fitted_rate(source_specific(), IMAGES, LABELS, SOURCE, TARGET, strengthen, 0)
    every = {float(image.sum()) for image in IMAGES[LABELS == SOURCE]}
    assert len(seen) == len(tried) == FOLDS
    assert sorted(value for part in seen for value in every - part) == sorted(every)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_images_cannot_be_parted(count: int) -> None:
    some = torch.nonzero(LABELS == SOURCE)[:count, 0]
    assert cross_fitted_rate(source_specific(), IMAGES[some], LABELS[some], SOURCE, TARGET, as_it_is, 0) is None


def test_a_lead_counts_all_images_of_its_class_where_those_searched_are_handed_over() -> None:
    found = drain(search_sources(source_specific(), IMAGES, LABELS, seed=0, control=Control(), with_steps=False))
    few, of_few = planted_images(12, 1)
    plain, fitted = (weigh_sources(source_specific(), found, few, of_few, searched=searched)[0] for searched in (None, (IMAGES, LABELS)))
    assert plain.rate.total == int((of_few == SOURCE).sum()) < fitted.rate.total and fitted.confirmed
