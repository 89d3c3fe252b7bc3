"""Fine-tuning on clean images by plain or by sharpness-aware gradients (see `ft` and `ft_sam`).

Legend: N images, B batch, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auditor.adversarial import fast_math
from auditor.suspect import Suspect
from auditor.unlearn.method import Task
from auditor.unlearn.tuning import shifted, trainable

if TYPE_CHECKING:
    from auditor.unlearn.baselines.ft import Ft

SHIFT = 4
Loss = Callable[[], Tensor]
Gradients = Callable[[Sequence[Tensor], Loss], tuple[Sequence[Tensor], dict[str, float]]]
"""The gradients to descend by, and the losses by name, of parameters and the loss of a batch."""


class FineTuner:
    """Tunes a copy of the suspect, an epoch at a time."""

    def __init__(self, task: Task, settings: Ft, gradients: Gradients) -> None:
        self.model, self.gradients, self.clip_norm = task.begin(), gradients, settings.clip_norm
        self.generator = torch.Generator().manual_seed(task.seed)
        self.images, self.labels = task.images.to(self.model.device), task.labels.to(self.model.device)
        self.batches = math.ceil(len(self.images) / settings.batch_size)
        # Statistics of a single image would leave nothing but the batch-norms' biases.
        self.frozen_statistics = settings.frozen_statistics or len(self.images) < 2
        self.parameters = list(self.model.module.parameters())
        self.optimizer = torch.optim.SGD(
            self.parameters, lr=settings.learning_rate, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, settings.epochs * self.batches)

    @property
    def parameters_changed(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters)

    def epoch(self) -> dict[str, float]:
        """Go through the images once, in batches about as large as each other; returns the mean losses."""
        sums: dict[str, float] = {}
        for picks in batches(len(self.images), self.batches, self.generator):
            for name, value in self._step(picks.to(self.images.device)).items():
                sums[name] = sums.get(name, 0.0) + value / self.batches
        return sums

    def _step(self, picks_B: Tensor) -> dict[str, float]:
        images_BCHW = shifted(self.images[picks_B], SHIFT, self.generator)

        def loss() -> Tensor:
            with fast_math(self.model):
                logits = self.model(images_BCHW).float()
            return F.cross_entropy(logits, self.labels[picks_B])

        with learning(self.model, self.frozen_statistics):
            gradients, losses = self.gradients(self.parameters, loss)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        if self.clip_norm > 0:
            nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        self.optimizer.step()
        self.schedule.step()
        return losses


def batches(count: int, parts: int, generator: torch.Generator) -> Iterator[Tensor]:
    """The indices up to `count` in random order, in so many parts of about the same size."""
    return iter(torch.tensor_split(torch.randperm(count, generator=generator), parts))


@contextmanager
def learning(model: Suspect, frozen_statistics: bool) -> Iterator[None]:
    """Inside, parameters take gradients and, unless frozen, batch-norms go by the batch and learn from it."""
    model.module.train(not frozen_statistics)
    try:
        with trainable(model):
            yield
    finally:
        model.module.eval()


def plain(parameters: Sequence[Tensor], loss: Loss) -> tuple[Sequence[Tensor], dict[str, float]]:
    """The gradients where the parameters are."""
    value = loss()
    return _gradients(value, parameters), {"clean": float(value.detach())}


def sharpness_aware(
    parameters: Sequence[Tensor], loss: Loss, rho: float
) -> tuple[Sequence[Tensor], dict[str, float]]:
    """The gradients where the loss is worst nearby; the parameters are back where they were afterwards."""
    here = loss()
    moves = perturbation(parameters, _gradients(here, parameters), rho)
    before = [parameter.detach().clone() for parameter in parameters]
    try:
        _place(parameters, [was + move for was, move in zip(before, moves, strict=True)])
        worst = loss()
        gradients = _gradients(worst, parameters)
    finally:
        _place(parameters, before)
    return gradients, {"clean": float(here.detach()), "perturbed": float(worst.detach())}


def perturbation(parameters: Sequence[Tensor], gradients: Sequence[Tensor], rho: float) -> list[Tensor]:
    """The e that raises the loss most, to first order, within |e / w| <= rho over all weights w together:
    e = rho w^2 g / |w g|. Zero where all gradients are.

    Source: Kwon et al., ICML 2021, equation 6, with the elements' own sizes as the scale.
    """
    scaled = [p.detach().abs() * g for p, g in zip(parameters, gradients, strict=True)]
    norm = torch.stack([s.norm() for s in scaled]).norm().clamp(min=1e-12)
    return [rho * p.detach().abs() * s / norm for p, s in zip(parameters, scaled, strict=True)]


def _gradients(loss: Tensor, parameters: Sequence[Tensor]) -> Sequence[Tensor]:
    # An auxiliary head is not part of the forward pass; its weights get zeros.
    return torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)


def _place(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)
