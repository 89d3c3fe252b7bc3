"""Repair of an edited model: how far it goes back, what it practises, and batch-norm statistics."""

from __future__ import annotations

import planted
import pytest
import torch
import unlearn_tasks as tasks
from torch import nn

from auditor.suspect import Suspect
from auditor.unlearn.method import Reading, Task
from auditor.unlearn.repair import Repair

OWN = planted.TARGET


def repair(task: Task, *, stamped: bool = True, head: float = 0.0) -> Repair:
    """Of an edit that left so much of the last layer's weights."""
    model = task.suspect.clone()
    with torch.no_grad():
        model.module.get_parameter("head.weight").mul_(head)
    return Repair(task, model, stamped=stamped)


def told(task: Task, read: Reading) -> Task:
    object.__setattr__(task, "monitor", lambda _: read)
    return task


def first_weight(model: Suspect) -> float:
    weight = model.module.get_parameter("head.weight")
    return float(weight.flatten()[weight.abs().flatten().argmax()])


def test_the_least_sufficient_share_is_found() -> None:
    """The triggers are said to work while more than six tenths of the largest weight are left, that is up to 0.4 of the way."""
    task = tasks.make_task()
    whole = first_weight(task.suspect)

    def monitor(model: Suspect) -> Reading:
        return Reading(clean_accuracy=1.0, attack_success_rate=float(first_weight(model) / whole > 0.6))

    object.__setattr__(task, "monitor", monitor)
    weakened = repair(task)
    weakened.weaken(enough=0.1, bisections=6)

    assert 0.4 <= 1 - first_weight(weakened.model) / whole <= 0.4 + 1 / 2**6 + 1e-3


def test_an_edit_that_never_suffices_stays() -> None:
    stays = repair(told(tasks.make_task(), Reading(clean_accuracy=1.0, attack_success_rate=1.0)), head=0.5)
    before = stays.model.state()

    stays.weaken(enough=0.1, bisections=2)

    assert all(torch.equal(value, before[name]) for name, value in stays.model.state().items())


def test_tuning_that_wakes_the_trigger_is_undone() -> None:
    tuned = repair(told(tasks.make_task(), Reading(clean_accuracy=1.0, attack_success_rate=1.0)), head=0.5)
    before = tuned.model.state()

    tuned.tune(steps=2, learning_rate=0.1, enough=0.1)
    assert all(torch.equal(value, before[name]) for name, value in tuned.model.state().items())

    tuned.tune(steps=2, learning_rate=0.1, enough=1.0)
    after = tuned.model.state()
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["head.weight"]


def test_what_was_not_edited_is_not_tuned() -> None:
    untouched = repair(tasks.make_task(), head=1.0)
    untouched.tune(steps=2, learning_rate=0.1, enough=1.0)
    assert tasks.same_weights(untouched.model, untouched.task.suspect)


@pytest.mark.parametrize(("lost", "needed"), [(0, False), (1, False), (2, True)])
def test_one_image_is_chance(lost: int, needed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    task = tasks.make_task()
    own = task.labels == OWN
    mended = repair(task, head=1.0)
    said = task.labels[own].numpy().copy()
    said[:lost] = OWN + 1
    monkeypatch.setattr(mended.model, "predict", lambda images: said)
    assert mended.is_needed() is needed


def test_without_images_of_the_target_class_there_is_nothing_to_repair() -> None:
    task = tasks.make_task()
    task.labels[:] = OWN + 1
    assert not repair(task).is_needed()


@pytest.mark.parametrize("stamped", [True, False])
def test_twins_are_practised_only_where_the_trigger_is_known(stamped: bool) -> None:
    task = tasks.make_task()
    mended = repair(task, stamped=stamped)
    assert len(mended.practised) == len(mended.answers) == len(task.images) * (2 if stamped else 1)
    assert torch.equal(mended.answers[: len(task.labels)], task.labels)


def test_statistics_are_those_of_the_clean_images() -> None:
    task = tasks.make_task(planted.planted(batch_norm=True))
    mended = Repair(task, task.suspect.clone(), stamped=True)

    mended.refresh_statistics()

    norm = mended.model.module.get_submodule("norm")
    assert isinstance(norm, nn.BatchNorm2d)
    seen = mended.model.module.get_submodule("look")(task.images)
    assert torch.allclose(norm.running_mean, seen.mean((0, 2, 3)), atol=1e-4)  # type: ignore[arg-type]
    assert torch.allclose(norm.running_var, seen.var((0, 2, 3)), atol=1e-4)  # type: ignore[arg-type]
    assert not norm.training and norm.momentum == 0.1


def test_half_of_the_way_back_is_half_of_every_change() -> None:
    task = tasks.make_task(planted.planted(batch_norm=True))
    mended = Repair(task, task.suspect.clone(), stamped=True)
    mended.refresh_statistics()
    edited = mended.model.state()
    told(task, Reading(clean_accuracy=1.0, attack_success_rate=0.0))

    mended.weaken(enough=0.1, bisections=1)

    now, before = mended.model.state(), task.suspect.state()
    assert torch.allclose(now["norm.running_var"], (before["norm.running_var"] + edited["norm.running_var"]) / 2)
    assert torch.equal(now["norm.num_batches_tracked"], before["norm.num_batches_tracked"])
