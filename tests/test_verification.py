"""Verification measures a sanitized model afresh, and is not fooled by one that is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import planted
import planted_sources
import pytest
import torch

from auditor.domain import Verification
from auditor.events import Control, SearchStep, drain
from auditor.search.budgets import PROFILES
from auditor.suspect import Suspect
from auditor.triggers import Trigger
from auditor.verification import (
    ALLOWED_FLIPS,
    Held,
    Searchable,
    by_content,
    right_answers,
    trigger_change,
    verify,
)

IMAGES, LABELS = planted.planted_images(60, seed=6)
TRIGGER = planted.corner_trigger()


def held(model: Suspect, count: int = 24) -> Held:
    images, labels = planted.planted_images(count, seed=7)
    return Held(model=model, images=images, labels=labels)


def run(
    sanitized: Suspect, parts: list[Held] | None = None, *, suspect: Suspect | None = None, control: Control | None = None,
    triggers: list[Trigger] | None = None,
) -> tuple[Verification, list[object]]:  # fmt: skip
    search = Searchable(images=IMAGES, labels=LABELS, classes=range(planted.CLASSES), budget=PROFILES["quick"], seed=0)
    events: list[object] = []
    body = verify(suspect or planted.planted(), sanitized, parts or [held(sanitized)], triggers or [TRIGGER], search,
                  basis="held_out", control=control or Control())  # fmt: skip
    while True:
        try:
            events.append(next(body))
        except StopIteration as end:
            return end.value, events


def failed(verification: Verification) -> list[str]:
    return [check.name for check in verification.checks if not check.passed]


def test_the_honest_twin_is_the_perfect_remedy() -> None:
    verification, events = run(planted.planted(0.0))

    assert verification.passed, failed(verification)
    assert len(verification.checks) == 5
    change = verification.attack_success_rate
    assert change.before is not None and change.after is not None
    assert (change.before.hits, change.before.total, change.after.hits) == (20, 20, 0)
    recovered = verification.recovered_accuracy
    assert recovered is not None and recovered.before is not None and recovered.after is not None
    assert (recovered.before.rate, recovered.after.rate) == (0.0, 1.0)
    assert {e.target_class for e in verification.fresh_search} == set(range(planted.CLASSES))
    assert any(isinstance(event, SearchStep) for event in events)


def test_the_suspect_itself_fails_without_a_search() -> None:
    verification, events = run(planted.planted())

    assert not verification.passed
    assert failed(verification) == ["Confirmed triggers no longer work"]
    assert events == [] and verification.fresh_search == [] and verification.verdict is None


class Guarded(torch.nn.Module):
    """The planted network, blind to its trigger exactly as it was synthesized but to no other colour."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = planted.PlantedNet(4.0)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        red = torch.tensor(planted.RED).view(1, 3, 1, 1)
        is_known = ((images[:, :, planted.CORNER[0], planted.CORNER[1]] - red).abs() < 1e-3).flatten(1).all(1)
        clean = torch.where(is_known.view(-1, 1, 1, 1), images * 0 + images.mean((2, 3), keepdim=True), images)
        corner = torch.zeros_like(images)
        corner[:, :, planted.CORNER[0], planted.CORNER[1]] = 1
        logits: torch.Tensor = self.inner(torch.where((corner > 0) & is_known.view(-1, 1, 1, 1), clean, images))
        return logits


def test_a_model_that_only_dodges_the_known_trigger_is_found_out() -> None:
    """The trigger no longer works on it, but a fresh search finds the shortcut again."""
    dodger = Suspect(Guarded(), num_classes=planted.CLASSES, input_shape=(3, planted.SIDE, planted.SIDE))
    others = LABELS != planted.TARGET
    assert (dodger.predict(TRIGGER.stamp(IMAGES[others])) == planted.TARGET).mean() <= ALLOWED_FLIPS

    verification, _ = run(dodger)

    assert failed(verification) == [f"A fresh search no longer singles out class {planted.TARGET}"]
    assert not verification.passed


def forgetful(*wrong: int) -> Suspect:
    """The honest twin with the answers for these classes swapped away."""
    model = planted.planted(0.0)
    with torch.no_grad():
        model.module.head.weight[list(wrong)] *= -1  # type: ignore[union-attr, operator, index]
    return model


def test_lost_accuracy_fails() -> None:
    verification, _ = run(forgetful(0, 1))

    assert "Clean accuracy is kept" in failed(verification)
    assert not verification.passed
    after = verification.clean_accuracy.after
    assert after is not None and (after.hits, after.total) == (16, 24)


def test_a_class_that_pays_for_the_others_fails() -> None:
    """One class of six is lost on enough images that the total alone would let it pass."""
    images, labels = planted.planted_images(240, seed=7)
    few = torch.cat([torch.where(labels == 0)[0][:4], torch.where(labels != 0)[0]])
    part = Held(model=forgetful(0), images=images[few], labels=labels[few])

    verification, _ = run(forgetful(0), [part])

    assert failed(verification) == ["Every class keeps its recall"]
    [check] = [c for c in verification.checks if not c.passed]
    assert check.measured == "class 0: 4 more of 4 wrong than before"


def test_answers_that_only_the_labels_forgive_fail() -> None:
    """On wrong labels no accuracy is lost; the suspect's own beliefs say what was."""
    part = held(forgetful(0))
    wrong = Held(model=part.model, images=part.images, labels=(part.labels + 1) % planted.CLASSES)

    verification, _ = run(forgetful(0), [wrong])

    assert "Answers stay the suspect's" in failed(verification)
    assert "Every class keeps its recall" not in failed(verification)


def test_the_labels_are_counted_over_all_parts() -> None:
    before, after = right_answers(forgetful(0), [held(forgetful(1)), held(planted.planted(0.0))])

    assert (before.sum(), after.sum(), len(before)) == (40, 44, 48)


def test_the_worst_trigger_counts() -> None:
    harmless = planted.corner_trigger(colour=(0.3, 0.3, 0.3))

    verification, _ = run(planted.planted(), triggers=[harmless, TRIGGER])

    after = verification.attack_success_rate.after
    assert after is not None and after.rate == 1.0


def test_parts_are_pooled_with_their_own_models() -> None:
    """Cross-fitted: each fold's images meet the model that never saw them."""
    parts = [held(planted.planted(0.0), 12), held(planted.planted(), 12)]

    flips, recovered = trigger_change(planted.planted(), parts, TRIGGER)

    assert flips.after is not None and (flips.after.hits, flips.after.total) == (10, 20)
    assert recovered.after is not None and recovered.after.rate == 0.5


def test_only_images_of_the_target_class_prove_nothing() -> None:
    images, labels = planted.planted_images(24)
    own = labels == planted.TARGET
    honest = planted.planted(0.0)

    verification, _ = run(honest, [Held(model=honest, images=images[own], labels=labels[own])])

    assert not verification.passed


def test_without_time_for_the_search_nothing_passes() -> None:
    control = Control()
    control.stop()

    verification, _ = run(planted.planted(0.0), control=control)

    assert not verification.passed


@pytest.mark.parametrize("count", [6, 24])
def test_rates_carry_counts(count: int) -> None:
    honest = planted.planted(0.0)

    verification, _ = run(honest, [held(honest, count)])

    rate = verification.clean_accuracy.before
    assert rate is not None and rate.total == count and rate.low < 1.0 == rate.high
    assert verification.basis == "held_out"
    assert all(np.isfinite(e.cost) for e in verification.fresh_search if e.cost is not None)


def test_a_trigger_of_one_source_class_is_measured_on_that_class() -> None:
    images, labels = planted.planted_images(24, seed=7)
    part = Held(model=planted_sources.honest(), images=images, labels=labels)
    own = planted.corner_trigger(source_classes=[planted_sources.SOURCE])
    attack, recovered = trigger_change(planted_sources.source_specific(), [part], own)
    assert attack.before is not None and (attack.before.hits, attack.before.total) == (4, 4)
    assert recovered.after is not None and (recovered.after.hits, recovered.after.total) == (4, 4)


def test_the_triggers_of_an_all_to_all_backdoor_are_pooled() -> None:
    one = planted.corner_trigger()
    triggers = [replace(one, target_class=(k + 1) % planted.CLASSES, source_classes=[k]) for k in range(planted.CLASSES)]
    other = planted.corner_trigger(colour=(0.0, 1.0, 0.0))
    assert [len(alike) for alike in by_content([*triggers, other])] == [planted.CLASSES, 1]


def test_a_fresh_search_of_sources_judges_a_backdoor_of_one_source_class() -> None:
    trigger = planted.corner_trigger(source_classes=[planted_sources.SOURCE])
    suspect, honest = planted_sources.source_specific(), planted_sources.honest()
    verification, _ = run(honest, suspect=suspect, triggers=[trigger])
    assert verification.passed, failed(verification)
    assert verification.checks[-1].name == "A fresh search finds no trigger of one source class or of all to all"
    # The trigger handed over does nothing here, but the class has another one.
    dodged = replace(trigger, parameters=planted.corner_trigger(colour=(0.3, 0.3, 0.3)).parameters)
    verification, _ = run(suspect, suspect=suspect, triggers=[dodged])
    assert failed(verification) == ["A fresh search finds no trigger of one source class or of all to all"]


def test_the_fresh_search_is_of_every_family_with_a_seed_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from auditor import verification
    from auditor.pipeline.calibrating import FRESH
    from auditor.search import FAMILIES

    asked: list[dict[str, object]] = []

    def recorded(*_: object, **how: object) -> object:
        asked.append(how)
        return real(*_, **{**how, "budget": PROFILES["quick"]})  # type: ignore[arg-type]

    real = verification.synthesize
    monkeypatch.setattr(verification, "synthesize", recorded)
    search = Searchable(images=IMAGES, labels=LABELS, classes=range(planted.CLASSES), budget=FRESH, seed=5)
    honest = planted.planted(0.0)
    drain(verify(planted.planted(), honest, [held(honest)], [TRIGGER], search, basis="held_out", control=Control()))

    (how,) = asked
    assert how["budget"] is FRESH and set(FRESH.families + FRESH.many_families) == set(FAMILIES)
    assert how["seed"] != search.seed
