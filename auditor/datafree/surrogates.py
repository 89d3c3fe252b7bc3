"""Surrogate images: what to search triggers on when there is no clean image at all.

Images are descended toward each class while every batch-norm layer is made to see the channel
means and variances it saw in training. They are no photographs, but they excite the network as
its training images did, which noise does not. Without batch-norm: smooth noise.

Legend: N images, K classes, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from auditor.adversarial import fast_math, images_at_once
from auditor.suspect import Suspect

PER_CLASS, STEPS = 4, 150
LEARNING_RATE = 0.05
STATISTICS_WEIGHT, SMOOTH_WEIGHT = 1.0, 0.5
BETAS = (0.5, 0.9)
COARSE = 8  # smooth noise is drawn this many times coarser than the image
MOST_SHIFT = 2  # pixels


@dataclass(frozen=True, kw_only=True, eq=False)
class Surrogates:
    """`images` (N, C, H, W) in [0, 1] on the CPU; `labels` (N,), the class the suspect gives each;
    `basis`: "batch-norm statistics" or "smooth noise"; `mismatch`: what is left of the
    statistics' difference a channel (0: matched), NaN for noise."""

    images: Tensor
    labels: Tensor
    basis: str
    mismatch: float


def surrogate_images(
    suspect: Suspect, *, seed: int, per_class: int = PER_CLASS, steps: int = STEPS
) -> Surrogates:  # fmt: skip
    """Synthesize `per_class` images of each class from the network alone.

    Passes K * per_class * steps images each way; without batch-norm, K * per_class forward.
    Source: Yin et al., Dreaming to Distill (DeepInversion), CVPR 2020; the statistics'
    difference in units of the running deviation, so that one weight suits every network.
    """
    generator = torch.Generator().manual_seed(seed)
    wanted = torch.arange(suspect.num_classes).repeat(per_class)
    images = smooth_noise(len(wanted), suspect.input_shape, generator)
    layers = tracked_norms(suspect.module)
    mismatch = float("nan")
    if layers:
        most = images_at_once(suspect)
        parts = [
            _descend(suspect, layers, x, y, steps, generator)
            for x, y in zip(torch.split(images, most), torch.split(wanted, most), strict=True)
        ]
        images = torch.cat([part for part, _ in parts])
        mismatch = sum(left for _, left in parts) / len(parts)
    labels = torch.from_numpy(suspect.predict(images))
    basis = "batch-norm statistics" if layers else "smooth noise"
    return Surrogates(images=images, labels=labels, basis=basis, mismatch=mismatch)


def tracked_norms(module: nn.Module) -> list[_BatchNorm]:
    """The batch-norm layers that carry running statistics, in registration order."""
    return [m for m in module.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


def smooth_noise(count: int, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """Noise images (N, C, H, W) in [0, 1] with energy at coarse scales: blobs, then a little grain."""
    channels, height, width = shape
    coarse = (max(2, height // COARSE), max(2, width // COARSE))
    blobs = F.interpolate(
        torch.randn(count, channels, *coarse, generator=generator), (height, width), mode="bilinear"
    )  # fmt: skip
    grey = torch.randn(count, 1, 1, 1, generator=generator)  # as photographs: channels rise and fall together
    grain = torch.randn(count, channels, height, width, generator=generator)
    return (0.5 + 0.2 * blobs + 0.1 * grey + 0.03 * grain).clamp(0, 1)


def _descend(
    suspect: Suspect, layers: list[_BatchNorm], images: Tensor, wanted: Tensor, steps: int, generator: torch.Generator
) -> tuple[Tensor, float]:
    """The images descended, on the CPU, and the mismatch left."""
    images, wanted = images.to(suspect.device), wanted.to(suspect.device)
    first, second = torch.zeros_like(images), torch.zeros_like(images)
    mismatch = float("nan")
    for step in range(1, steps + 1):
        images = images.detach().requires_grad_(True)
        with watched(layers) as seen, fast_math(suspect):
            logits = suspect(jittered(images, generator))
        left = statistics_mismatch(seen)
        loss = F.cross_entropy(logits.float(), wanted) + STATISTICS_WEIGHT * left + SMOOTH_WEIGHT * variation(images)
        # Each image's own gradient: the mean over the batch would shrink it with the batch.
        (gradient,) = torch.autograd.grad(loss * len(images), images)
        first = BETAS[0] * first + (1 - BETAS[0]) * gradient
        second = BETAS[1] * second + (1 - BETAS[1]) * gradient**2
        scale = (second / (1 - BETAS[1] ** step)).sqrt() + 1e-10
        rate = LEARNING_RATE * (1 - 0.9 * step / steps)
        images = (images.detach() - rate * (first / (1 - BETAS[0] ** step)) / scale).clamp(0, 1)
        mismatch = float(left.detach())
    return images.cpu(), mismatch


@contextmanager
def watched(layers: list[_BatchNorm]) -> Iterator[list[tuple[_BatchNorm, Tensor]]]:
    """Collects each layer's input in the forward passes made within; leaves no hook behind."""
    seen: list[tuple[_BatchNorm, Tensor]] = []

    def remember(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(layer, _BatchNorm)
        seen.append((layer, inputs[0]))

    handles = [layer.register_forward_pre_hook(remember) for layer in layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def statistics_mismatch(seen: list[tuple[_BatchNorm, Tensor]]) -> Tensor:
    """Mean over layers and channels of (mean - running mean)^2 / running variance, plus
    (deviation / running deviation - 1)^2."""
    total: list[Tensor] = []
    for layer, activation in seen:
        assert layer.running_mean is not None and layer.running_var is not None
        flat = activation.float().transpose(0, 1).flatten(1)
        variance = layer.running_var + layer.eps
        mean_gap = (flat.mean(1) - layer.running_mean).square() / variance
        spread_gap = ((flat.var(1, unbiased=False) + layer.eps) / variance).sqrt() - 1
        total.append((mean_gap + spread_gap.square()).mean())
    return torch.stack(total).mean()


def variation(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels, each way."""
    return (images[..., 1:] - images[..., :-1]).abs().mean() + (images[..., 1:, :] - images[..., :-1, :]).abs().mean()


def jittered(images: Tensor, generator: torch.Generator) -> Tensor:
    """The batch shifted by up to `MOST_SHIFT` pixels, and mirrored half the time."""
    down, right = (torch.randint(-MOST_SHIFT, MOST_SHIFT + 1, (2,), generator=generator)).tolist()
    moved = images.roll((down, right), dims=(-2, -1))
    return moved.flip(-1) if bool(torch.rand((), generator=generator) < 0.5) else moved
