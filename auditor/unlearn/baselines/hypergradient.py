"""A universal perturbation, and the hypergradient of unlearning it (see `i_bau`).

Legend: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from auditor.unlearn.baselines.fine_tuning import batches
from auditor.unlearn.method import Task
from auditor.unlearn.tuning import trainable

if TYPE_CHECKING:
    from auditor.unlearn.baselines.i_bau import IBau

Objective = Callable[[Tensor], Tensor]
"""A loss of the inner variable; of the outer ones by closure."""


def hypergradient(
    outer: Objective, inner: Objective, variable: Tensor, parameters: Sequence[Tensor], *, steps: int, step_size: float
) -> list[Tensor]:
    """d outer(v(w), w) / dw, where v(w) minimises inner(v, w); `variable` is v(w), or near it.

    Iterates u <- u - step_size H u + d outer / dv, H the inner Hessian, which tends to
    (step_size H)^-1 d outer / dv; returns d outer / dw - step_size (d2 inner / dw dv) u.
    Source: Grazzi et al., ICML 2020, with gradient descent as the inner map.
    """
    variable = variable.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(inner(variable), variable, create_graph=True)
    moved = variable - step_size * slope
    wanted, *direct = torch.autograd.grad(
        outer(variable), [variable, *parameters], allow_unused=True, materialize_grads=True
    )
    weights = torch.zeros_like(variable)
    for _ in range(steps):
        (pulled,) = torch.autograd.grad(moved, variable, weights, retain_graph=True)
        weights = pulled + wanted
    through = torch.autograd.grad(moved, parameters, weights, allow_unused=True, materialize_grads=True)
    return [d + t for d, t in zip(direct, through, strict=True)]


class Unlearner:
    """Unlearns universal perturbations on a copy of the suspect, a round at a time."""

    def __init__(self, task: Task, settings: IBau) -> None:
        self.settings, self.model = settings, task.begin()
        self.generator = torch.Generator().manual_seed(task.seed)
        self.images, self.labels = task.images.to(self.model.device), task.labels.to(self.model.device)
        self.batches = math.ceil(len(self.images) / settings.batch_size)
        self.parameters = list(self.model.module.parameters())
        self.optimizer = torch.optim.Adam(self.parameters, lr=settings.learning_rate)

    @property
    def parameters_changed(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters)

    def round(self) -> dict[str, float]:
        """Find a perturbation and unlearn it; returns the cross-entropy it caused, and that being unlearned."""
        perturbation, caused = self._perturbation()
        losses = [self._descend(perturbation, picks) for picks in batches(len(self.images), self.batches, self.generator)]
        return {"perturbed": caused, "outer": sum(losses) / len(losses)}

    def _perturbation(self) -> tuple[Tensor, float]:
        """One (1, C, H, W) that raises the loss of all images, and the loss it led to."""
        found = torch.zeros_like(self.images[:1])
        loss = torch.zeros(())
        for _ in range(self.settings.inner_passes):
            for picks in batches(len(self.images), self.batches, self.generator):
                found = found.detach().requires_grad_(True)
                loss = self._inner(found, picks)
                (slope,) = torch.autograd.grad(loss, found)
                found = found.detach() - self.settings.inner_learning_rate * slope
                found *= (self.settings.radius / found.norm().clamp(min=1e-12)).clamp(max=1)
        return found, -float(loss.detach())

    def _descend(self, perturbation: Tensor, picks: Tensor) -> float:
        """One outer step on a batch; returns its loss."""
        carriers = max(1, round(self.settings.perturbed_share * len(picks)))
        carries = (torch.arange(len(picks)) < carriers).view(-1, 1, 1, 1).to(self.images.device)  # picks are shuffled
        losses = []

        def outer(variable: Tensor) -> Tensor:
            losses.append(self._cross_entropy(self.images[picks] + carries * variable, picks))
            return losses[-1]

        with trainable(self.model):
            gradients = hypergradient(
                outer, lambda variable: self._inner(variable, picks), perturbation, self.parameters,
                steps=self.settings.fixed_point_steps, step_size=self.settings.fixed_point_size,
            )  # fmt: skip
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        return float(losses[-1].detach())

    def _inner(self, variable: Tensor, picks: Tensor) -> Tensor:
        """What the perturbation minimises: less cross-entropy than its size costs."""
        return self.settings.penalty * variable.square().sum() - self._cross_entropy(self.images[picks] + variable, picks)

    def _cross_entropy(self, images_BCHW: Tensor, picks: Tensor) -> Tensor:
        # In full precision: second derivatives are differences of small numbers.
        return F.cross_entropy(self.model(images_BCHW), self.labels[picks])
