"""Re-activation: a small universal perturbation beside the trigger that makes it work again.

x' = clip(stamp(x) + d) with |d| at most `epsilon`, one d for all images, is searched for by the solver
of the trigger search, toward the former target and toward classes that were none. A sleeping
backdoor answers to its own target where the others do not. Source of the idea: Zhu et al., NeurIPS
2024 (arXiv 2405.16134), whose attack this is; the reference classes are ours.

Legend: M arms, B images an arm sees a step, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from auditor.adversarial import Descent
from auditor.hardness.subject import Subject

if TYPE_CHECKING:
    from auditor.triggers import Trigger


@dataclass(frozen=True, kw_only=True)
class Reactivation:
    """Hyper-parameters: the bound on each pixel's change in [0, 1] units, and the length of the search.

    The bound is where an honest network still resists: on an honest CIFAR-10 ResNet-20 the search flips 3 to 22 %
    of images at 4/255, and 15 to 82 % at 8/255, whatever the class.
    """

    epsilon: float = 4 / 255
    steps: int = 40
    batch_size: int = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Beside:
    """A trigger with a bounded perturbation beside it, as the shared solver takes a trigger family: it costs nothing
    within its bound, and has none beyond."""

    trigger: Trigger
    epsilon: float
    initial_multiplier: float = 1.0
    pace: float = 1.0
    name: str = "beside"

    @property
    def learning_rate(self) -> float:
        return self.epsilon / 4

    def start(self, arms: int, shape: tuple[int, int, int], generator: torch.Generator) -> dict[str, Tensor]:
        return {"delta": torch.zeros(arms, *shape)}

    def start_from(self, perturbation_CHW: Tensor) -> dict[str, Tensor]:
        return {"delta": perturbation_CHW}

    def constrain(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"delta": raw["delta"].clamp(-self.epsilon, self.epsilon)}

    def cost(self, parameters: Mapping[str, Tensor]) -> Tensor:
        return parameters["delta"].new_zeros(len(parameters["delta"]))

    def penalty(self, parameters: Mapping[str, Tensor]) -> Tensor:
        return self.cost(parameters)

    def scale(self, parameters: Mapping[str, Tensor], strength: Tensor) -> dict[str, Tensor]:
        return {"delta": parameters["delta"] * strength[:, None, None, None]}

    def stamp(self, parameters: Mapping[str, Tensor], images_MBCHW: Tensor) -> Tensor:
        stamped = self.trigger.stamp(images_MBCHW.flatten(0, 1)).view(images_MBCHW.shape)
        return (stamped + parameters["delta"][:, None]).clamp(0, 1)


def reactivate(subject: Subject, classes: Sequence[int], settings: Reactivation) -> list[int]:
    """Hits (M,) among the held-out eligible images, for each of `classes` with its own perturbation."""
    family, targets = Beside(trigger=subject.trigger, epsilon=settings.epsilon), torch.tensor(list(classes))
    generator = torch.Generator().manual_seed(subject.seed)
    carriers = subject.eligible(subject.work_labels, -1)
    descent = Descent(
        subject.model, family, subject.work[carriers], subject.work_labels[carriers], targets,
        family.start(len(classes), subject.model.input_shape, generator), generator, settings.batch_size,
    )  # fmt: skip
    for _ in range(settings.steps):
        descent.step()
    found = family.constrain(descent.raw)["delta"]
    hits = []
    for target, delta in zip(classes, found, strict=True):
        images = subject.held[subject.eligible(subject.held_labels, target)].to(delta.device)
        triggered = family.stamp({"delta": delta[None]}, images[None])[0]
        hits.append(int((subject.model.predict(triggered) == target).sum()))
    return hits
