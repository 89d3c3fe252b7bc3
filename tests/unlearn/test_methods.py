"""The contract over every unlearning method: what it may touch, what it must honour, what it must reach."""

from __future__ import annotations

import dataclasses
from typing import Any

import planted
import pytest
import torch
import unlearn_tasks as tasks

from auditor.errors import Cancelled
from auditor.events import Control, UnlearnStep, drain
from auditor.suspect import Suspect
from auditor.unlearn import METHODS
from auditor.unlearn.baselines import BASELINES
from auditor.unlearn.method import Method, Task, watched

Sanitized = dict[str, tuple[Suspect, list[UnlearnStep]]]
NAMES = sorted(METHODS)
# Long runs change nothing on the planted network; and rho, a norm over all weights, is far too much for so few.
SHORT: dict[str, dict[str, Any]] = {
    "ft": {"epochs": 4}, "ft_sam": {"epochs": 4, "rho": 0.1}, "anp": {"iterations": 20}, "i_bau": {"rounds": 2},
}  # fmt: skip
WITH_TRIGGERS = sorted(set(METHODS) - set(BASELINES))
FRESH, FRESH_LABELS = planted.planted_images(120, seed=11)


def subject(name: str, strength: float = 4.0) -> Suspect:
    """The planted network, or its honest twin, as the method can take it."""
    return planted.planted(strength, batch_norm=name == "anp")


def method(name: str) -> Method:
    return dataclasses.replace(METHODS[name], **SHORT.get(name, {}))  # type: ignore[type-var]


def task_of(name: str, **fields: Any) -> Task:
    return tasks.make_task(subject(name), **fields)


@pytest.fixture(scope="module")
def sanitized() -> Sanitized:
    """Each method's model of the planted network, and the events it reported."""
    done = {}
    for name in NAMES:
        steps: list[UnlearnStep] = []
        running = method(name).run(task_of(name))
        while True:
            try:
                steps.append(next(running))  # type: ignore[arg-type]
            except StopIteration as end:
                done[name] = (end.value, steps)
                break
    return done


@pytest.mark.parametrize("name", NAMES)
def test_registered_under_its_name_with_fields_that_can_be_written_down(name: str) -> None:
    registered = METHODS[name]

    assert registered.name == name
    assert isinstance(registered.is_reconstruction, bool)
    assert dataclasses.is_dataclass(registered)
    assert all(isinstance(value, int | float | str | tuple) for value in dataclasses.asdict(registered).values())  # type: ignore[call-overload]
    with pytest.raises(dataclasses.FrozenInstanceError):
        registered.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_finite_and_the_network_is_as_it_was(name: str, sanitized: Sanitized) -> None:
    model, _ = sanitized[name]
    before = subject(name).state()

    assert {key: value.shape for key, value in model.state().items()} == {key: value.shape for key, value in before.items()}
    assert all(bool(torch.isfinite(value).all()) for value in model.state().values())
    assert not model.module.training
    assert not any(parameter.requires_grad for parameter in model.module.parameters())


@pytest.mark.parametrize("name", WITH_TRIGGERS)
def test_the_trigger_is_weaker_and_accuracy_is_kept(name: str, sanitized: Sanitized) -> None:
    model, _ = sanitized[name]
    trigger, suspect = planted.corner_trigger(), planted.planted()

    assert tasks.flips(suspect, trigger, FRESH, FRESH_LABELS) == 1.0
    assert tasks.target_margin(model, trigger, FRESH, FRESH_LABELS) < 0.8 * tasks.target_margin(suspect, trigger, FRESH, FRESH_LABELS)
    assert tasks.accuracy(model, FRESH, FRESH_LABELS) >= 0.95


def test_some_method_kills_the_trigger(sanitized: Sanitized) -> None:
    rates = {name: tasks.flips(model, planted.corner_trigger(), FRESH, FRESH_LABELS) for name, (model, _) in sanitized.items()}

    assert min(rates.values()) <= 0.1, rates


@pytest.mark.parametrize("name", NAMES)
def test_steps_are_reported(name: str, sanitized: Sanitized) -> None:
    model, steps = sanitized[name]

    assert steps
    assert all(isinstance(step, UnlearnStep) and step.method == name for step in steps)
    numbers = [step.step for step in steps]
    assert numbers == sorted(numbers)
    assert all(0 < step.step <= step.steps for step in steps)
    assert all(0 <= rate <= 1 for step in steps for rate in (step.clean_accuracy, step.proxy_attack_success_rate))
    last = tasks.make_task().monitor(model)
    assert steps[-1].clean_accuracy == last.clean_accuracy
    assert steps[-1].proxy_attack_success_rate == last.attack_success_rate


@pytest.mark.parametrize("name", NAMES)
def test_the_suspect_and_the_images_are_left_bit_identical(name: str) -> None:
    control = Control()
    control.stop()
    task = task_of(name, control=control)
    images, labels = task.images.clone(), task.labels.clone()

    drain(method(name).run(task))

    assert tasks.same_weights(task.suspect, subject(name))
    assert not task.suspect.module.training
    assert not any(parameter.requires_grad for parameter in task.suspect.module.parameters())
    assert torch.equal(task.images, images)
    assert torch.equal(task.labels, labels)


@pytest.mark.parametrize("name", NAMES)
def test_stop_ends_early_with_a_model(name: str, sanitized: Sanitized) -> None:
    control = Control()
    control.stop()
    events: list[UnlearnStep] = []
    running = method(name).run(task_of(name, control=control))
    with pytest.raises(StopIteration) as end:
        while True:
            events.append(next(running))  # type: ignore[arg-type]

    assert len(events) <= 3
    assert tasks.accuracy(end.value.value, FRESH, FRESH_LABELS) >= 0.9


@pytest.mark.parametrize("name", NAMES)
def test_cancel_raises_and_leaves_the_suspect_whole(name: str) -> None:
    control = Control()
    task = task_of(name, control=control)
    running = method(name).run(task)
    next(running)
    control.cancel()

    with pytest.raises(Cancelled):
        drain(running)
    assert tasks.same_weights(task.suspect, subject(name))


@pytest.mark.parametrize("name", NAMES)
def test_closing_the_generator_leaves_gradients_as_they_were(name: str) -> None:
    task = task_of(name)
    running = method(name).run(task)
    next(running)
    running.close()

    assert torch.is_grad_enabled()
    assert not any(hook for module in task.suspect.module.modules() for hook in module._forward_hooks.values())


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_weights(name: str, sanitized: Sanitized) -> None:
    torch.manual_seed(123)  # the global generator must not matter

    again = drain(method(name).run(task_of(name)))

    assert tasks.same_weights(again, sanitized[name][0])


@pytest.mark.parametrize("name", NAMES)
def test_an_honest_network_is_hardly_harmed(name: str) -> None:
    """A trigger that does nothing gives nothing to unlearn."""
    honest = subject(name, 0.0)

    model = drain(method(name).run(tasks.make_task(honest)))

    assert tasks.accuracy(model, FRESH, FRESH_LABELS) >= 0.95


@pytest.mark.parametrize("name", NAMES)
def test_very_few_images(name: str) -> None:
    model = drain(method(name).run(task_of(name, count=6)))

    assert all(bool(torch.isfinite(value).all()) for value in model.state().values())


def test_a_watched_run_starts_from_the_suspect() -> None:
    task = tasks.make_task()
    first = next(watched(METHODS["edit"], task))
    assert isinstance(first, UnlearnStep)
    assert (first.method, first.step, first.parameters_changed) == ("edit", 0, 0)
    assert (first.clean_accuracy, first.proxy_attack_success_rate) == (1.0, 1.0)
