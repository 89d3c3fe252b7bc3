"""Searching for triggers that mind where an image comes from, on networks whose backdoor is set by hand."""

from __future__ import annotations

import numpy as np
import pytest
from planted import CLASSES, TARGET, planted_images
from planted_sources import SOURCE, STEP, all_to_all, honest, source_specific

from auditor import adversarial
from auditor.events import Control, drain
from auditor.search import all_to_all as steps
from auditor.search import sources
from auditor.search.sources import SourceSearch, search_sources
from auditor.suspect import Suspect


def search(suspect: Suspect, control: Control | None = None) -> SourceSearch:
    images, labels = planted_images(60)
    return drain(search_sources(suspect, images, labels, seed=0, control=control or Control()))


@pytest.fixture
def one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches of a single step, where what they find does not matter."""
    monkeypatch.setattr(sources, "PAIR_STEPS", 1)
    monkeypatch.setattr(steps, "FIRST_STEPS", 0)
    monkeypatch.setattr(steps, "LAST_STEPS", 1)


def test_the_pair_of_a_source_specific_backdoor_is_the_cheapest_and_works() -> None:
    found = search(source_specific())
    assert np.unravel_index(np.nanargmin(found.cost), found.cost.shape) == (SOURCE, TARGET)
    trigger = found.pairs[SOURCE, TARGET]
    assert trigger.source_classes == [SOURCE] and trigger.target_class == TARGET and found.complete


def test_the_step_of_an_all_to_all_backdoor_is_the_only_one_that_works() -> None:
    found = search(all_to_all())
    assert {s.step for s in found.shifts if s.works} == {STEP}
    triggers = next(s for s in found.shifts if s.works).triggers(CLASSES)
    assert {t.source_classes[0]: t.target_class for t in triggers} == {k: (k + STEP) % CLASSES for k in range(CLASSES)}


def test_no_step_works_on_an_honest_network() -> None:
    assert not any(s.works for s in search(honest()).shifts)


def test_the_same_seed_finds_the_same_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PAIR_STEPS", 3)
    monkeypatch.setattr(steps, "FIRST_STEPS", 2)
    monkeypatch.setattr(steps, "LAST_STEPS", 1)
    first, second = search(source_specific()), search(source_specific())
    assert np.array_equal(first.cost, second.cost, equal_nan=True)


def test_there_is_no_cost_from_a_class_to_itself_or_from_one_without_images(one_step: None) -> None:
    images, labels = planted_images(30)
    kept = labels != 3
    found = drain(search_sources(honest(), images[kept], labels[kept], seed=0, control=Control()))
    assert np.isnan(found.cost[3]).all() and np.isnan(np.diag(found.cost)).all()
    assert np.isfinite(found.cost[0]).sum() == CLASSES - 1


def test_images_the_suspect_gets_wrong_are_left_out(one_step: None) -> None:
    images, labels = planted_images(30)
    found = drain(search_sources(honest(), images, (labels + 1) % CLASSES, seed=0, control=Control()))
    assert np.isnan(found.cost).all() and not found.shifts


def test_pairs_are_searched_only_where_asked(one_step: None) -> None:
    images, labels = planted_images(30)
    found = drain(search_sources(source_specific(), images, labels, seed=0, control=Control(), with_pairs=False))
    assert np.isnan(found.cost).all() and not found.pairs and len(found.shifts) == steps.KEPT and found.complete


def test_a_stop_leaves_the_search_incomplete() -> None:
    control = Control()
    control.stop()
    found = search(source_specific(), control)
    assert not found.complete and not found.pairs and not found.shifts


def test_images_are_shown_to_the_steps_as_they_are(one_step: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mixed or mirrored they may be of another class, and then their goal is the wrong one."""
    monkeypatch.setattr(adversarial, "carriers", lambda *_: pytest.fail("an image was changed"))
    images, labels = planted_images(12)
    assert steps.search_all_to_all(honest(), images, labels, seed=0, control=Control())
