"""Masks on batch-normed channels, learned against adversarial noise on them (see `anp`).

Legend: B batch, C channels, H height, W width, O channels of one batch-norm.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from auditor.adversarial import fast_math
from auditor.errors import UsageError
from auditor.unlearn.method import Task

if TYPE_CHECKING:
    from auditor.unlearn.baselines.anp import Anp


@dataclass(frozen=True)
class Noise:
    """What is added to the masks and to ones, by batch-norm, each (O,): on weights and on biases."""

    weight: dict[str, Tensor]
    bias: dict[str, Tensor]


class Replaced(nn.Module):
    """A network that runs with the parameters given it for the pass, by name, in place of its own."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.parameters_given: dict[str, Tensor] = {}

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = functional_call(self.network, self.parameters_given, (images,))
        return logits


class NeuronMasks:
    """Learns one mask a batch-normed channel of a copy of the suspect, and prunes by them.

    Raises UsageError for a network without batch-norms.
    """

    def __init__(self, task: Task, settings: Anp) -> None:
        self.task, self.settings, self.model = task, settings, task.begin()
        self.norms = {
            name: module for name, module in self.model.module.named_modules()
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.affine
        }  # fmt: skip
        if not self.norms:
            raise UsageError("`anp` prunes channels by their batch-norms, and this network has none.",
                             "Sanitize it by another method, such as --method prune.")  # fmt: skip
        self.replaced = Replaced(self.model.module)
        self.running = self.model.with_module(self.replaced)
        self.generator = torch.Generator().manual_seed(task.seed)
        self.images, self.labels = task.images.to(self.model.device), task.labels.to(self.model.device)
        self.masks = {name: torch.ones_like(norm.weight).requires_grad_(True) for name, norm in self.norms.items()}
        self.optimizer = torch.optim.SGD(self.masks.values(), lr=settings.learning_rate, momentum=settings.momentum)

    def learn(self, iterations: int) -> dict[str, float]:
        """Update the masks so often; returns the mean losses."""
        sums = {"clean": 0.0, "noisy": 0.0}
        count = min(self.settings.batch_size, len(self.images))
        with self._batch_statistics():
            for _ in range(iterations):
                picks = torch.randperm(len(self.images), generator=self.generator)[:count].to(self.images.device)
                for name, value in self.update(self.images[picks], self.labels[picks]).items():
                    sums[name] += value / iterations
        return sums

    def update(self, images_BCHW: Tensor, labels_B: Tensor) -> dict[str, float]:
        """One step of the masks on a batch, against the noise found on it."""
        noise = self.worst_noise(images_BCHW, labels_B)
        clean, noisy = self.loss(images_BCHW, labels_B), self.loss(images_BCHW, labels_B, noise)
        loss = self.settings.alpha * clean + (1 - self.settings.alpha) * noisy
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        with torch.no_grad():
            for mask in self.masks.values():
                mask.clamp_(0, 1)
        return {"clean": float(clean.detach()), "noisy": float(noisy.detach())}

    def worst_noise(self, images_BCHW: Tensor, labels_B: Tensor) -> Noise:
        """Noise within epsilon that raises the loss: one signed step of epsilon from a random start."""
        epsilon = self.settings.epsilon
        start = [self._uniform(norm.weight) for norm in self.norms.values() for _ in range(2)]
        gradients = torch.autograd.grad(self.loss(images_BCHW, labels_B, self._noise(start)), start)
        found = [(s.detach() + epsilon * g.sign()).clamp(-epsilon, epsilon) for s, g in zip(start, gradients, strict=True)]
        return self._noise(found)

    def loss(self, images_BCHW: Tensor, labels_B: Tensor, noise: Noise | None = None) -> Tensor:
        """The cross-entropy with masks, and with noise where there is any."""
        given = {}
        for name, norm in self.norms.items():
            mask_O = self.masks[name] if noise is None else self.masks[name] + noise.weight[name]
            given[f"{name}.weight"] = mask_O * norm.weight
            given[f"{name}.bias"] = norm.bias if noise is None else (1 + noise.bias[name]) * norm.bias
        self.replaced.parameters_given = given
        with fast_math(self.model):
            logits = self.running(images_BCHW).float()
        self.replaced.parameters_given = {}
        return F.cross_entropy(logits, labels_B)

    def prune(self, threshold_step: float, most_threshold: float, accuracy_budget: float) -> int:
        """Zero the weights of channels below the highest threshold that costs no more than the budget.

        Returns how many channels were pruned.
        """
        before, kept, pruned = self._accuracy(), self.model.state(), 0
        for threshold in torch.arange(threshold_step, most_threshold + threshold_step / 2, threshold_step).tolist():
            below = self._zero_below(threshold)
            if below == pruned:
                continue
            if self._accuracy() < before - accuracy_budget:
                break
            kept, pruned = self.model.state(), below
        self.model.module.load_state_dict(kept)
        return pruned

    @contextmanager
    def _batch_statistics(self) -> Iterator[None]:
        """Let the batch-norms normalise by the batch, as published, and leave their running statistics alone.

        By the running ones the noise of one layer grows through the next, no mask stands it, and all fall to zero.
        """
        tracked = [norm.track_running_stats for norm in self.norms.values()]
        for norm in self.norms.values():
            norm.train(len(self.images) > 1)  # one image has no variance
            norm.track_running_stats = False if norm.training else norm.track_running_stats
        try:
            yield
        finally:
            for norm, kept in zip(self.norms.values(), tracked, strict=True):
                norm.eval()
                norm.track_running_stats = kept

    def _zero_below(self, threshold: float) -> int:
        with torch.no_grad():
            for name, norm in self.norms.items():
                norm.weight[self.masks[name] < threshold] = 0
        return sum(int((mask < threshold).sum()) for mask in self.masks.values())

    def _accuracy(self) -> float:
        return float((torch.from_numpy(self.model.predict(self.task.images)) == self.task.labels).float().mean())

    def _uniform(self, like: Tensor) -> Tensor:
        drawn = 2 * torch.rand(like.shape, generator=self.generator) - 1
        return (self.settings.epsilon * drawn).to(like.device).requires_grad_(True)

    def _noise(self, tensors: list[Tensor]) -> Noise:
        return Noise(dict(zip(self.norms, tensors[::2], strict=True)), dict(zip(self.norms, tensors[1::2], strict=True)))
