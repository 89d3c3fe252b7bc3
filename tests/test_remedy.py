"""The portfolio: what it tries, in which order, and that verification alone accepts."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import planted
import pytest
import torch
from portfolios import try_only
from torch import Tensor

from auditor import remedy
from auditor.events import AttemptFinished, Control, Event, drain
from auditor.images import split
from auditor.metrics import accuracy, attack_success_rate
from auditor.remedy import ORIGINAL_WEIGHT, Case, Remedy, find_remedy
from auditor.search.budgets import PROFILES, Budget
from auditor.suspect import Suspect
from auditor.triggers import Trigger
from auditor.unlearn import METHODS
from auditor.unlearn.method import Reading, Task
from auditor.verification import Searchable

TRIGGER = planted.corner_trigger()
FRESH, FRESH_LABELS = planted.planted_images(120, seed=12)


def make_case(count: int = 60, *, control: Control | None = None, triggers: Sequence[Trigger] = (TRIGGER,)) -> Case:
    images, labels = planted.planted_images(count, seed=2)
    parts = split((images * 255).to(torch.uint8).permute(0, 2, 3, 1).numpy(), labels.numpy(), 0)
    folds = [(torch.from_numpy(work), torch.from_numpy(verify)) for work, verify in parts.folds]

    def monitor(model: Suspect) -> Reading:
        work = folds[0][0]
        rates = [attack_success_rate(model.predict(t.stamp(images[work])), labels[work].numpy(), t.target_class).rate or 0.0
                 for t in triggers]  # fmt: skip
        return Reading(clean_accuracy=accuracy(model.predict(images[work]), labels[work].numpy()).rate or 0.0,
                       attack_success_rate=max(rates))  # fmt: skip

    return Case(
        suspect=planted.planted(), every_image=images, every_label=labels, folds=folds, basis=parts.basis,
        triggers=list(triggers), monitor=monitor, seed=0, control=control or Control(),
        search=Searchable(images=images, labels=labels, classes=range(planted.CLASSES), budget=PROFILES["quick"], seed=0),
    )  # fmt: skip


def run(case: Case, method: str = "auto") -> tuple[Remedy, list[Event]]:
    events: list[Event] = []
    body = find_remedy(case, method)
    while True:
        try:
            events.append(next(body))
        except StopIteration as end:
            return end.value, events


@dataclass(frozen=True, kw_only=True)
class Returns:
    """A method that hands out a given network, whatever it is asked, and notes what it was given.

    Its fields are hyper-parameters, which are copied into the result: the network is none of them.
    """

    name: str = "fake"
    is_reconstruction: bool = False
    model: ClassVar[Suspect]
    tasks: ClassVar[list[Task]]

    def run(self, task: Task) -> Generator[Event, None, Suspect]:
        self.tasks.append(task)
        yield from ()
        return self.model


def returns(model: Suspect, name: str = "fake") -> Returns:
    class Bound(Returns):
        pass

    Bound.model, Bound.tasks = model, []
    return Bound(name=name)


def use(monkeypatch: pytest.MonkeyPatch, *methods: Returns) -> None:
    """Make these the methods that `auto` tries."""
    for method in methods:
        monkeypatch.setitem(METHODS, method.name, method)
    try_only(monkeypatch, *(method.name for method in methods))


def dodger() -> Suspect:
    """The planted network, blind to the exact red of its trigger and to no other colour."""

    class Dodger(planted.PlantedNet):
        def forward(self, images: Tensor) -> Tensor:
            red = torch.tensor(planted.RED).view(1, 3, 1, 1)
            corner = images[:, :, planted.CORNER[0], planted.CORNER[1]]
            known = ((corner - red).abs() < 1e-3).flatten(1).all(1).float()
            logits = super().forward(images)
            shift = torch.zeros_like(logits)
            shift[:, planted.TARGET] = 100
            return logits - known[:, None] * shift

    return Suspect(Dodger(4.0), num_classes=planted.CLASSES, input_shape=(3, planted.SIDE, planted.SIDE))


def test_auto_sanitizes_the_planted_network() -> None:
    case = make_case()

    found, events = run(case)

    assert found.accepted
    assert found.model is not None
    others = FRESH_LABELS.numpy() != planted.TARGET
    assert (found.model.predict(TRIGGER.stamp(FRESH))[others] == planted.TARGET).mean() <= 0.1
    assert (found.model.predict(FRESH) == FRESH_LABELS.numpy()).mean() >= 0.97
    # What was tried is told, the accepted attempt last, and the suspect is as it was
    finished = [event for event in events if isinstance(event, AttemptFinished)]
    assert [(e.method, e.accepted, e.reason) for e in finished] == [(a.method, a.accepted, a.reason) for a in found.attempts]
    assert [attempt.accepted for attempt in found.attempts] == [False] * (len(found.attempts) - 1) + [True]
    assert found.attempts[-1].method == found.method
    assert found.attempts[-1].parameters_changed > 0
    assert all(torch.equal(v, planted.planted().state()[k]) for k, v in case.suspect.state().items())


def test_same_seed_same_remedy() -> None:
    first, second = (run(make_case())[0] for _ in range(2))

    assert first.model is not None and second.model is not None
    assert all(torch.equal(v, second.model.state()[k]) for k, v in first.model.state().items())
    assert first.verification == second.verification


def test_cheap_methods_first_and_none_after_one_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    good, never = returns(planted.planted(0.0), name="good"), returns(planted.planted(), name="never")
    use(monkeypatch, good, never)

    found, _ = run(make_case())

    assert (found.accepted, found.method, found.model) == (True, "good", good.model)
    assert never.tasks == []


def test_a_method_that_fails_on_work_images_is_not_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    useless, good = returns(planted.planted(), name="useless"), returns(planted.planted(0.0), name="good")
    use(monkeypatch, useless, good)

    found, _ = run(make_case())

    assert [(a.method, a.accepted) for a in found.attempts] == [("useless", False), ("good", True)]
    assert "not worth verifying" in found.attempts[0].reason
    assert found.method == "good"


def test_a_method_asked_for_by_name_is_verified_whatever_it_made(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, returns(planted.planted()))

    found, _ = run(make_case(), "fake")

    assert not found.accepted
    assert found.verification is not None and found.model is not None
    assert "Confirmed triggers no longer work" in found.attempts[0].reason


def test_nothing_is_accepted_where_nothing_works(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, returns(planted.planted(), name="one"), returns(planted.planted(), name="two"))

    found, _ = run(make_case())

    assert not found.accepted
    assert {attempt.method for attempt in found.attempts} == {"one", "two"}


def test_a_dodged_trigger_is_rejected_and_comes_back_with_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh search still singles the model out: the next round gets the triggers that did."""
    method = returns(dodger())
    use(monkeypatch, method)

    found, _ = run(make_case(), "fake")

    assert not found.accepted
    assert all("no longer singles out" in attempt.reason for attempt in found.attempts)
    given = [len(task.triggers) for task in method.tasks]
    assert len(given) >= 2
    assert given == sorted(set(given)), "every round has more triggers than the one before"
    assert all(trigger.target_class == planted.TARGET for task in method.tasks for trigger in task.triggers)


def test_a_method_sees_work_images_only(monkeypatch: pytest.MonkeyPatch) -> None:
    case, method = make_case(), returns(planted.planted(0.0))
    use(monkeypatch, method)

    run(case)

    work, verify = case.folds[0]
    [task] = method.tasks
    assert torch.equal(task.images, case.every_image[work])
    assert not set(work.tolist()) & set(verify.tolist())
    held_back = case.every_image[verify]
    assert not any(torch.equal(image, other) for image in task.images for other in held_back)


def test_a_baseline_sees_clean_images_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No trigger is handed to it, and none is synthesized for it."""
    baseline, ours = returns(planted.planted(0.0), "ft"), returns(planted.planted(0.0), "fake")
    searched: list[str] = []

    def search(model: Suspect, case: Case, indices: Tensor, seed: int) -> Generator[Event, None, list[Any]]:
        searched.append("search")
        yield from ()
        return []

    monkeypatch.setattr(remedy, "_search_twins", search)
    for method in (baseline, ours):
        drain(remedy.unlearned(make_case(), method, torch.arange(6), [TRIGGER]))

    assert list(baseline.tasks[0].triggers) == []
    assert TRIGGER in ours.tasks[0].triggers and searched == ["search"]


def test_few_images_are_cross_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given 18 images in three folds
    case, method = make_case(18), returns(planted.planted(0.0))
    use(monkeypatch, method)
    assert case.basis == "cross_fitted"

    found, _ = run(case)

    # Then one model is made of all images, and one for each fold of the others
    assert [len(task.images) for task in method.tasks] == [18, 12, 12, 12]
    assert found.verification is not None and found.verification.clean_accuracy.after is not None
    assert found.verification.clean_accuracy.after.total == 18
    for task, (_, held) in zip(method.tasks[1:], case.folds, strict=True):
        assert not any(torch.equal(image, other) for image in task.images for other in case.every_image[held])


def test_stop_ends_after_the_attempt_in_work() -> None:
    control = Control()
    control.stop()

    found, _ = run(make_case(control=control))

    assert len(found.attempts) == 1
    assert not found.accepted
    assert found.model is not None
    assert np.isfinite(found.attempts[0].seconds)


def test_triggers_of_near_families_join_and_count_less(monkeypatch: pytest.MonkeyPatch) -> None:
    near = Trigger(family="additive", target_class=planted.TARGET, parameters={"delta": TRIGGER.parameters["pattern"]})
    searched: list[tuple[str, ...]] = []

    def synthesized(*args: Any, budget: Budget, **rest: Any) -> Generator[Event, None, Any]:
        searched.append(budget.families)
        yield from ()
        return SimpleNamespace(candidates=[SimpleNamespace(trigger=t, cost=1.0) for t in (TRIGGER, near)])

    monkeypatch.setattr(remedy, "synthesize", synthesized)
    case = replace(make_case(), near=["additive"])

    found = drain(remedy.every_trigger(case, case.work, []))

    assert searched == [("patch", "additive")]
    assert (sum(t is TRIGGER for t in found), sum(t is near for t in found)) == (2 * ORIGINAL_WEIGHT, 1)
