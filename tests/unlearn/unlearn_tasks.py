"""Jobs for unlearning methods on the planted network, and what came of them."""

from __future__ import annotations

from collections.abc import Sequence

import planted
import torch
from torch import Tensor

from auditor.events import Control
from auditor.suspect import Suspect
from auditor.triggers import Trigger
from auditor.unlearn.method import Monitor, Reading, Task


def make_task(
    suspect: Suspect | None = None, *, triggers: Sequence[Trigger] | None = None, count: int = 42, seed: int = 0,
    control: Control | None = None,
) -> Task:  # fmt: skip
    """Sanitize the planted network on `count` work images, its trigger known exactly."""
    images, labels = planted.planted_images(count, seed=3)
    triggers = [planted.corner_trigger()] if triggers is None else triggers
    return Task(
        suspect=suspect or planted.planted(), images=images, labels=labels, triggers=triggers,
        monitor=monitor(images, labels, triggers), seed=seed, control=control or Control(),
    )  # fmt: skip


def monitor(images: Tensor, labels: Tensor, triggers: Sequence[Trigger]) -> Monitor:
    def read(model: Suspect) -> Reading:
        return Reading(clean_accuracy=accuracy(model, images, labels),
                       attack_success_rate=max((flips(model, t, images, labels) for t in triggers), default=0.0))  # fmt: skip

    return read


def accuracy(model: Suspect, images: Tensor, labels: Tensor) -> float:
    return float((model.predict(images) == labels.numpy()).mean())


def flips(model: Suspect, trigger: Trigger, images: Tensor, labels: Tensor) -> float:
    """The share of images of other classes that the trigger flips to its target."""
    others = labels != trigger.target_class
    return float((model.predict(trigger.stamp(images[others])) == trigger.target_class).mean())


def target_margin(model: Suspect, trigger: Trigger, images: Tensor, labels: Tensor) -> float:
    """By how much the target's logit leads the true label's on stamped images, on average."""
    others = labels != trigger.target_class
    logits = model.logits(trigger.stamp(images[others]))
    return float((logits[:, trigger.target_class] - logits.gather(1, labels[others, None])[:, 0]).mean())


def moved(model: Suspect, before: Suspect) -> float:
    """The squared length of what changed in the weights and buffers, as a share of what they were."""
    old = before.state()
    change = sum(float((after - old[name]).square().sum()) for name, after in model.state().items())
    return change / sum(float(value.square().sum()) for value in old.values())


def same_weights(first: Suspect, second: Suspect) -> bool:
    one, other = first.state(), second.state()
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())
