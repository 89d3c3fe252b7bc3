"""`refit_ascent`: one run of two methods, the second going on from where the first ended."""

from __future__ import annotations

from dataclasses import replace

import planted
import pytest
import unlearn_tasks as tasks

from auditor.events import Control, UnlearnStep, drain
from auditor.suspect import Suspect
from auditor.unlearn import METHODS
from auditor.unlearn.ascent import Ascent
from auditor.unlearn.method import Task
from auditor.unlearn.refit import Refit
from auditor.unlearn.refit_ascent import RefitAscent


def steps_of(task: Task, method: RefitAscent) -> tuple[Suspect, list[UnlearnStep]]:
    steps: list[UnlearnStep] = []
    running = method.run(task)
    while True:
        try:
            steps.append(next(running))  # type: ignore[arg-type]
        except StopIteration as end:
            return end.value, steps


def test_a_task_begins_from_what_an_earlier_method_made() -> None:
    suspect, other = planted.planted(), planted.planted(strength=1.0)
    task = tasks.make_task(suspect)
    assert tasks.same_weights(task.begin(), suspect)
    begun = replace(task, begun=other).begin()
    assert tasks.same_weights(begun, other) and begun is not other


def test_ascent_goes_on_from_the_refitted_model_with_the_suspect_as_its_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[Task] = []

    def run(self: Ascent, task: Task):  # type: ignore[no-untyped-def]
        met.append(task)
        return task.begin()
        yield

    monkeypatch.setattr(Ascent, "run", run)
    task = tasks.make_task()
    model, _ = steps_of(task, RefitAscent())
    refitted = drain(Refit().run(task))
    assert tasks.same_weights(model, refitted) and not tasks.same_weights(model, task.suspect)
    assert met[0].begun is not None and met[0].suspect is task.suspect


def test_the_steps_of_both_count_as_one_runs() -> None:
    model, steps = steps_of(tasks.make_task(), RefitAscent())
    numbers = [step.step for step in steps]
    assert numbers == sorted(set(numbers)) and {step.method for step in steps} == {"refit_ascent"}
    assert {step.steps for step in steps} == {steps[-1].step}
    assert sum("clean" in step.losses for step in steps) >= 1  # those of the ascent
    assert tasks.flips(model, planted.corner_trigger(), *planted.planted_images(120, seed=11)) <= 0.1


def test_a_stop_between_the_two_keeps_the_refitted_model() -> None:
    control = Control()
    task = tasks.make_task(control=control)
    running = RefitAscent().run(task)
    with pytest.raises(StopIteration) as end:
        while True:
            event = next(running)
            control.stop()
            assert isinstance(event, UnlearnStep)
    assert isinstance(end.value.value, Suspect)


def test_it_is_offered_and_told_a_reconstruction() -> None:
    assert METHODS["refit_ascent"].is_reconstruction
