"""The suspect's twin: a copy made different, so that "shared" between the two means something.

A short fine-tune on the work images moves the weights and leaves a backdoor where it is
(METHODS section E: plain fine-tuning does not remove one), while many of the accidental
adversarial directions move with the weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auditor.adversarial import fast_math
from auditor.suspect import Suspect


@dataclass(frozen=True, kw_only=True, eq=False)
class Twin:
    """`disagreement` is the share of perturbed work images on which twin and suspect differ:
    a twin that never disagrees makes the shared search an ordinary one."""

    suspect: Suspect
    disagreement: float
    how: str


def make_twin(
    suspect: Suspect, images: Tensor, labels: Tensor, *, seed: int, steps: int = 40, learning_rate: float = 0.01,
    batch_size: int = 32, noise: float = 0.05,
) -> Twin:  # fmt: skip
    """Fine-tune a copy for `steps` of SGD on `images` (N, C, H, W) and measure how it differs.

    Batch-norm statistics stay frozen: with few images they would wreck the copy. When the copy
    still agrees everywhere, its batch-norm weights are shaken as well.
    """
    generator = torch.Generator().manual_seed(seed)
    twin = suspect.clone()
    _fine_tune(twin, images, labels, generator, steps, learning_rate, batch_size)
    how = f"fine-tuned for {steps} steps on the work images"
    measured = disagreement(suspect, twin, images, generator)
    if measured < 0.01:
        _shake(twin.module, noise, generator)
        measured = disagreement(suspect, twin, images, generator)
        how += ", batch-norm weights shaken"
    return Twin(suspect=twin, disagreement=measured, how=how)


def disagreement(suspect: Suspect, twin: Suspect, images: Tensor, generator: torch.Generator, noise: float = 0.2) -> float:
    """Share of images, under uniform noise of +-`noise`, that the two label differently."""
    shaken = (images + noise * (2 * torch.rand(images.shape, generator=generator) - 1)).clamp(0, 1)
    return float((suspect.predict(shaken) != twin.predict(shaken)).mean())


def _fine_tune(
    twin: Suspect, images: Tensor, labels: Tensor, generator: torch.Generator, steps: int, learning_rate: float,
    batch_size: int,
) -> None:  # fmt: skip
    twin.module.requires_grad_(True)
    optimizer = torch.optim.SGD(twin.module.parameters(), lr=learning_rate, momentum=0.9)
    for _ in range(steps):
        picks = torch.randint(0, len(images), (min(batch_size, len(images)),), generator=generator)
        flip = torch.rand(len(picks), 1, 1, 1, generator=generator) < 0.5
        batch = torch.where(flip, images[picks].roll(1, dims=3), images[picks].roll(1, dims=2))
        with fast_math(twin):
            logits = twin(batch.to(twin.device)).float()
        loss = F.cross_entropy(logits, labels[picks].to(twin.device))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(twin.module.parameters(), 1.0)
        optimizer.step()
    twin.module.requires_grad_(False)


def _shake(module: nn.Module, noise: float, generator: torch.Generator) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.weight is not None:
            sign = torch.randint(0, 2, layer.weight.shape, generator=generator).float() * 2 - 1
            layer.weight.data *= 1 + noise * sign.to(layer.weight.device)
