"""What a method is told."""

from __future__ import annotations

import planted
import torch

from auditor.events import Control
from auditor.unlearn.method import Reading, Task


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
