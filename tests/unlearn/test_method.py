"""What a method is told."""

from __future__ import annotations

import planted
import torch

from auditor.events import Control, UnlearnStep
from auditor.unlearn.method import Reading, Task, counted


def task(*sources: list[int]) -> Task:
    images, labels = planted.planted_images(12)
    return Task(
        suspect=planted.planted(), images=images, labels=labels, triggers=[planted.corner_trigger(one) for one in sources],
        monitor=lambda model: Reading(clean_accuracy=1.0, attack_success_rate=0.0), seed=0, control=Control(),
    )  # fmt: skip


def test_every_image_is_stamped_where_a_trigger_minds_no_source() -> None:
    assert task([], [1]).meant().all()


def test_only_the_source_classes_are_stamped_where_every_trigger_minds_them() -> None:
    found = task([1], [2])
    assert torch.equal(found.meant(), (found.labels == 1) | (found.labels == 2))


def test_closing_what_counts_the_steps_closes_the_method_at_work() -> None:
    closed = []

    def run():  # type: ignore[no-untyped-def]
        try:
            yield UnlearnStep(method="x", step=1, steps=2, clean_accuracy=1.0, proxy_attack_success_rate=0.0)
        finally:
            closed.append(True)

    running = counted(run(), "both", 0, 3)
    assert next(running).steps == 5  # type: ignore[attr-defined]
    running.close()
    assert closed == [True]
