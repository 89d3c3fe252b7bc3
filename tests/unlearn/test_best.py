"""Which state of a model in work is kept."""

from __future__ import annotations

import planted
import torch
import unlearn_tasks as tasks

from auditor.unlearn.best import Best
from auditor.unlearn.method import Reading


def reading(accuracy: float, attack: float) -> Reading:
    return Reading(clean_accuracy=accuracy, attack_success_rate=attack)


def test_the_least_attack_success_at_the_least_accuracy_lost_is_restored() -> None:
    model = planted.planted()
    best = Best(model, reading(0.9, 1.0))

    assert best.offer(reading(0.85, 0.2))  # 0.2 + 2 * 0.05
    good = model.state()
    model.module.head.weight.data += 1  # type: ignore[union-attr]
    assert not best.offer(reading(0.7, 0.0))  # 2 * 0.2
    assert best.restore() == reading(0.85, 0.2)

    assert all(torch.equal(value, good[name]) for name, value in model.state().items())


def test_of_equals_the_latest_is_kept_and_accuracy_gained_counts_nothing() -> None:
    model = planted.planted()
    best = Best(model, reading(0.9, 0.0))
    model.module.head.weight.data += 1  # type: ignore[union-attr]

    assert best.offer(reading(0.95, 0.0))
    best.restore()

    assert not tasks.same_weights(model, planted.planted())
