"""Pairs confirmed on all images of the source class, each by a trigger that has not seen it."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
import torch
from planted import TARGET, planted_images
from planted_sources import SOURCE, honest, source_specific

from auditor.events import Control, Notice, drain
from auditor.search.sources import search_sources
from auditor.verdict import cross_fitting
from auditor.verdict.cross_fitting import FOLDS, cross_fitted
from auditor.verdict.sources import SourceLead, sentence, weigh_sources

IMAGES, LABELS = planted_images(60)
OF_SOURCE = int((LABELS == SOURCE).sum())
FEW, OF_FEW = planted_images(12, 1)


@functools.cache
def searched() -> SourceLead:
    """The lead of the planted pair, measured on a handful of unseen images."""
    found = drain(search_sources(source_specific(), IMAGES, LABELS, seed=0, control=Control(), with_steps=False))
    (lead,) = weigh_sources(source_specific(), found, FEW, OF_FEW)
    return lead


def fitted(lead: SourceLead, images: torch.Tensor = IMAGES, labels: torch.Tensor = LABELS, make=source_specific) -> list[SourceLead]:
    return drain(cross_fitted(make(), [lead], images, labels, seed=0, control=Control()))


def test_a_planted_pair_holds_on_every_image_of_its_class() -> None:
    plain = searched()
    (lead,) = fitted(plain)
    assert lead.cross_fitted and lead.rate.total == OF_SOURCE > plain.rate.total
    assert lead.rate.hits >= 0.8 * OF_SOURCE and lead.confirmed and lead.triggers == plain.triggers


def test_the_same_pair_does_not_hold_on_an_honest_network() -> None:
    """Some trigger leads from any class to any other: at the cost of a backdoor's it does nothing."""
    (lead,) = fitted(searched(), make=honest)
    assert lead.cross_fitted and lead.rate.total == OF_SOURCE and lead.rate.hits == 0 and not lead.confirmed


def test_every_image_is_left_out_of_the_search_it_is_tried_by(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = cross_fitting.search_pair

    def search(suspect, images, source, target, seed):  # type: ignore[no-untyped-def]
        assert (source, target) == (SOURCE, TARGET)
        seen.append({float(image.sum()) for image in images})
        return real(suspect, images, source, target, seed)

    monkeypatch.setattr(cross_fitting, "search_pair", search)
    fitted(searched())
    every = {float(image.sum()) for image in IMAGES[LABELS == SOURCE]}
    assert len(seen) == FOLDS and sorted(value for part in seen for value in every - part) == sorted(every)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_lead_with_too_few_images_stays_as_it_is(count: int) -> None:
    some = torch.nonzero(LABELS == SOURCE)[:count, 0]
    assert fitted(searched(), IMAGES[some], LABELS[some]) == [searched()]


def test_a_stop_leaves_leads_as_they_are() -> None:
    control, lead = Control(), searched()
    control.stop()
    assert drain(cross_fitted(source_specific(), [lead], IMAGES, LABELS, seed=0, control=control)) == [lead]


def test_no_more_pairs_are_searched_again_than_there_are_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights made for it could let every pair stand out. Other kinds are measured already."""
    monkeypatch.setattr(cross_fitting, "_rate", lambda *_: None)
    lead = searched()
    many = [replace(lead, standing=2.0 + number) for number in range(30)]
    shift = replace(lead, kind="all_to_all")
    told = list(cross_fitted(source_specific(), [shift, *many], IMAGES, LABELS, seed=0, control=Control()))
    assert len(told) == source_specific().num_classes and all(isinstance(event, Notice) for event in told)


def test_a_sentence_says_by_which_triggers_images_flip() -> None:
    plain = searched()
    assert f"flips {plain.rate.hits} of {plain.rate.total} images it was not fitted to" in sentence(plain, [])
    (lead,) = fitted(plain)
    assert f"of {OF_SOURCE} images of that class {lead.rate.hits} flip by a trigger searched without them" in sentence(lead, [])
