"""Trigger synthesis on a network whose backdoor is set by hand, and on its honest twin."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from planted import CLASSES, SIDE, TARGET, corner_mask, planted, planted_images
from torch import nn

from auditor.adversarial import Family
from auditor.errors import UsageError
from auditor.events import Control, SearchStep, drain
from auditor.pricing import ENOUGH_SHARE
from auditor.search import FAMILIES
from auditor.search.additive import Additive
from auditor.search.budgets import PROFILES, Budget
from auditor.search.patch import Patch
from auditor.search.synthesis import Candidate, SearchResult, family_seed, synthesize
from auditor.suspect import Suspect

BUDGET = Budget(restarts=2, first_steps=15, steps=60, refine_steps=20)
SHORT = Budget(restarts=1, first_steps=0, steps=10, refine_steps=5)
PATCH_ONLY: dict[str, Family] = {"patch": Patch()}
ADDITIVE_ONLY: dict[str, Family] = {"additive": Additive()}


@functools.cache
def searched(strength: float, seed: int = 0) -> SearchResult:
    images, labels = planted_images()
    return drain(
        synthesize(
            planted(strength), images, labels, classes=range(CLASSES), budget=BUDGET, seed=seed, control=Control()
        )
    )


def costs(result: SearchResult, family: str) -> list[float]:
    """Cost by class; every class must have been flipped."""
    found = {c.target_class: c.cost for c in result.candidates if c.family == family}
    assert sorted(found) == list(range(CLASSES)) and None not in found.values()
    return [found[label] or 0.0 for label in range(CLASSES)]


def candidate(result: SearchResult, family: str, target: int) -> Candidate:
    return next(c for c in result.candidates if (c.family, c.target_class) == (family, target))


def short_run(suspect: Suspect, seed: int = 0, **options: object) -> SearchResult:
    images, labels = planted_images()
    arguments = {"classes": range(CLASSES), "budget": SHORT, "seed": seed, "control": Control(), **options}
    return drain(synthesize(suspect, images, labels, **arguments))  # type: ignore[arg-type]


# The planted backdoor and its honest twin ---------------------------------------------------------


@pytest.mark.parametrize(("family", "gap"), [("patch", 4), ("additive", 2)])
def test_the_target_is_far_cheaper_than_every_other_class(family: str, gap: float) -> None:
    found = costs(searched(4.0), family)
    others = [cost for label, cost in enumerate(found) if label != TARGET]
    assert gap * found[TARGET] < min(others)


@pytest.mark.parametrize("family", ["patch", "additive"])
def test_the_honest_twin_has_no_such_class(family: str) -> None:
    found = costs(searched(0.0), family)
    assert 1.6 * min(found) > float(np.median(found))


def test_the_patch_is_recovered_where_it_is() -> None:
    found = candidate(searched(4.0), "patch", TARGET)
    mask, truth = found.trigger.parameters["mask"], corner_mask()
    assert mask[truth].sum() / mask.sum() > 0.9
    support = found.trigger.support(planted_images()[0])
    assert (support & truth).sum() / (support | truth).sum() >= 0.5
    red = found.trigger.parameters["pattern"][:, support & truth].mean(1)
    assert red[0] > 0.8 and red[1:].max() < 0.2


def test_the_recovered_triggers_fool_unseen_images_and_not_the_twin() -> None:
    images, labels = planted_images(60, seed=9)
    images = images[labels != TARGET]
    for family in BUDGET.families:
        found = candidate(searched(4.0), family, TARGET)
        stamped = found.trigger.stamp(images)
        assert (planted().predict(stamped) == TARGET).mean() > 0.9 and found.flip_share > 0.9
        assert (planted(0.0).predict(stamped) == TARGET).mean() < 0.2


def test_another_seed_finds_the_same_backdoor_by_another_path() -> None:
    first, other = searched(4.0), searched(4.0, seed=1)
    assert costs(first, "patch") != costs(other, "patch")
    assert int(np.argmin(costs(other, "patch"))) == TARGET


# The contract of a search -------------------------------------------------------------------------


def test_same_seed_same_result_to_the_bit() -> None:
    first, again = short_run(planted(), 3), short_run(planted(), 3)
    for one, two in zip(first.candidates, again.candidates, strict=True):
        assert (one.cost, one.flip_share, one.target_class) == (two.cost, two.flip_share, two.target_class)
        for name, value in one.trigger.parameters.items():
            np.testing.assert_array_equal(value, two.trigger.parameters[name])


def test_suspect_is_left_bit_identical_and_without_hooks() -> None:
    suspect = planted()
    before = suspect.state()
    short_run(suspect)
    assert all(torch.equal(before[name], value) for name, value in suspect.module.state_dict().items())
    assert not any(module._forward_hooks or module.training for module in suspect.module.modules())
    assert not any(value.requires_grad for value in suspect.module.parameters())


def test_grad_mode_does_not_leak_through_the_events() -> None:
    images, labels = planted_images()
    events = synthesize(
        planted(), images, labels, classes=range(CLASSES), budget=SHORT, seed=0, control=Control()
    )  # fmt: skip
    for _ in events:
        assert torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")


def test_only_the_classes_asked_for_are_searched() -> None:
    found = short_run(planted(), classes=[5, TARGET], families=PATCH_ONLY)
    assert [c.target_class for c in found.candidates] == [5, TARGET]
    assert [c.trigger.family for c in found.candidates] == ["patch", "patch"]


def test_events_say_how_every_class_stands() -> None:
    images, labels = planted_images()
    events = list(
        synthesize(
            planted(), images, labels, classes=range(CLASSES), budget=SHORT, seed=0, control=Control(),
            families={"additive": FAMILIES["additive"]},
        )
    )  # fmt: skip
    assert all(isinstance(event, SearchStep) for event in events)
    steps = [event.step for event in events if isinstance(event, SearchStep)]
    assert steps == [5, 10, 15] and events[-1].steps == 15  # type: ignore[attr-defined]
    for event in events[:2]:
        assert isinstance(event, SearchStep) and event.classes == list(range(CLASSES))
        assert len(event.loss) == len(event.cost) == len(event.attack_success_rate) == CLASSES
        assert isinstance(event.picture, np.ndarray) and event.picture.shape == (SIDE, SIDE, 3)
        assert event.picture.dtype == np.float32 and 0 <= event.picture.min() <= event.picture.max() <= 1
    assert len(events[2].classes) == SHORT.refined  # type: ignore[attr-defined]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_pictured_as_a_change(family: str) -> None:
    images, labels = planted_images(12)
    budget = Budget(restarts=1, first_steps=0, steps=5, refine_steps=0, families=(family,))
    events = list(
        synthesize(planted(), images, labels, classes=[1, 2], budget=budget, seed=0, control=Control())
    )  # fmt: skip
    picture = events[0].picture  # type: ignore[attr-defined]
    assert picture.shape == (SIDE, SIDE, 3) and picture.dtype == np.float32 and picture.std() > 1e-3
    assert 0 <= picture.min() and picture.max() <= 1


def test_stop_ends_the_descent_at_once_and_keeps_what_there_is() -> None:
    images, labels = planted_images()
    suspect, control = planted(), Control()
    events = synthesize(
        suspect, images, labels, classes=range(CLASSES), budget=BUDGET, seed=0, control=control
    )  # fmt: skip
    next(events)
    control.stop()
    backward = suspect.meter.backward_images
    result = drain(events)
    assert suspect.meter.backward_images == backward
    # Then the family it was in is kept as far as it came, and named with those not begun.
    assert [c.target_class for c in result.candidates] == list(range(CLASSES))
    assert {c.family for c in result.candidates} == {"patch"} and result.skipped == ["patch", "additive"]
    assert not result.complete


def test_a_search_run_to_its_end_is_complete() -> None:
    found = searched(4.0)
    assert found.complete and found.skipped == []


def test_a_search_stopped_within_its_last_family_is_not_complete() -> None:
    images, labels = planted_images()
    control = Control()
    events = synthesize(
        planted(), images, labels, classes=range(CLASSES), budget=BUDGET, seed=0, control=control,
        families=PATCH_ONLY,
    )  # fmt: skip
    next(events)
    control.stop()
    result = drain(events)
    assert not result.complete and result.skipped == ["patch"]


def test_nothing_is_searched_after_the_deadline() -> None:
    suspect = planted()
    found = short_run(suspect, control=Control(time_budget_s=0))
    assert found.candidates == [] and found.skipped == list(SHORT.families) and not found.complete
    assert suspect.meter.forward_images == 0


def test_a_trigger_that_flips_too_few_has_no_cost() -> None:
    budget = Budget(restarts=1, first_steps=0, steps=1, refine_steps=0)
    found = short_run(planted(0.0), budget=budget, families=ADDITIVE_ONLY)
    assert all(c.cost is None and c.flip_share < ENOUGH_SHARE for c in found.candidates)


def test_refining_does_not_change_the_costs_compared() -> None:
    plain = Budget(restarts=1, first_steps=0, steps=40, refine_steps=0)
    refined = Budget(restarts=1, first_steps=0, steps=40, refine_steps=20)
    first, second = (short_run(planted(), budget=b, families=PATCH_ONLY) for b in (plain, refined))
    assert costs(first, "patch") == costs(second, "patch")


def test_images_of_one_class_leave_that_class_without_a_cost() -> None:
    images, labels = planted_images()
    one = labels == TARGET
    found = drain(
        synthesize(planted(), images[one], labels[one], classes=range(CLASSES), budget=SHORT, seed=0, control=Control())
    )
    # Then it says so in numbers that a result can hold, and the other classes are searched as ever.
    for family in SHORT.families:
        assert candidate(found, family, TARGET).cost is None and candidate(found, family, TARGET).flip_share == 0
    assert any(c.cost is not None for c in found.candidates)
    assert all(math.isfinite(c.flip_share) for c in found.candidates)


@pytest.mark.parametrize(("images", "classes"), [(0, [1, 2]), (12, [])])
def test_a_search_without_images_or_classes_is_refused(images: int, classes: list[int]) -> None:
    clean, labels = planted_images(12)
    suspect = planted()
    events = synthesize(
        suspect, clean[:images], labels[:images], classes=classes, budget=SHORT, seed=0, control=Control()
    )  # fmt: skip
    with pytest.raises(UsageError, match="needs images and classes"):
        drain(events)
    assert suspect.meter.forward_images == 0


def test_grey_images_are_pictured_in_three_channels() -> None:
    grey = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, CLASSES))
    images, labels = planted_images(12)
    events = list(
        synthesize(
            Suspect(grey, num_classes=CLASSES, input_shape=(1, SIDE, SIDE)), images[:, :1], labels, classes=[0, 1],
            budget=SHORT, seed=0, control=Control(),
        )
    )  # fmt: skip
    assert events
    for event in events:
        assert isinstance(event, SearchStep) and isinstance(event.picture, np.ndarray)
        assert event.picture.shape == (SIDE, SIDE, 3) and (event.picture == event.picture[..., :1]).all()


def test_every_family_has_a_generator_of_its_own() -> None:
    seeds = {family_seed(seed, name) for seed in (0, 1) for name in FAMILIES}
    assert len(seeds) == 2 * len(FAMILIES) and all(0 <= seed < 2**56 for seed in seeds)
    # Given the same seed, a family finds the same alone, beside others, and in whatever order.
    alone = short_run(planted(), families=ADDITIVE_ONLY).candidates
    both = [c for c in short_run(planted()).candidates if c.family == "additive"]
    turned = short_run(planted(), families=ADDITIVE_ONLY | PATCH_ONLY).candidates[:CLASSES]
    for one, two, three in zip(alone, both, turned, strict=True):
        assert one.cost == two.cost == three.cost and one.family == three.family == "additive"
        np.testing.assert_array_equal(one.trigger.parameters["delta"], two.trigger.parameters["delta"])


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_halve_only_after_a_first_rung(name: str) -> None:
    budget = PROFILES[name]
    assert 0 <= budget.first_steps < budget.steps and (budget.restarts > 1) == (budget.first_steps > 0)
    assert set(budget.families) <= set(FAMILIES) and len(set(budget.families)) == len(budget.families)


def test_beyond_sixteen_classes_each_sees_two_thirds_of_the_images() -> None:
    budget = PROFILES["standard"]
    assert budget.over(16) == budget
    many = budget.over(17)
    assert (many.batch_size, many.priced_images, many.steps) == (5, 18, budget.steps) and budget.batch_size == 8


def test_a_pace_trades_images_a_step_for_steps() -> None:
    budget = Budget(restarts=1, first_steps=9, steps=60, refine_steps=30, batch_size=8)
    paced = budget.at_pace(4 / 3)
    assert (paced.first_steps, paced.steps, paced.refine_steps, paced.batch_size) == (12, 80, 40, 6)
    assert budget.at_pace(1.0) == budget and budget.at_pace(100.0).batch_size == 1


def test_a_search_takes_the_families_its_budget_names() -> None:
    images, labels = planted_images(12)
    budget = Budget(restarts=1, first_steps=0, steps=2, refine_steps=0, families=("lowfreq", "patch"))
    found = drain(
        synthesize(planted(), images, labels, classes=[1, 2], budget=budget, seed=0, control=Control())
    )  # fmt: skip
    assert [c.family for c in found.candidates] == ["lowfreq", "lowfreq", "patch", "patch"]
