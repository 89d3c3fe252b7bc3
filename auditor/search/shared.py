"""The shared adversarial search of SAU: perturbations that fool the suspect and its twin alike.

For every image, one perturbation that makes the suspect and the twin predict the same wrong
class. A backdoor's direction survives a change of weights that ordinary adversarial directions
do not, so the labels these examples share point at the target class. Honest models concentrate
too: this orders and starts the per-class search, and decides nothing.

Source: Wei et al., Shared Adversarial Unlearning, NeurIPS 2023 (inner problem). Ours: clipping
to the image range, random restarts, and the search over a twin rather than a model in repair.

Legend: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auditor.adversarial import fast_math
from auditor.events import Control, Event, SharedSearchStep
from auditor.shared_loss import shared_loss
from auditor.suspect import Suspect

# The sorted shares of shared labels that honest models showed (benchmarks/RESULTS.md, "shared"):
# the mean of 15 honest calibration models. Only the excess over them is news.
HONEST_SHARES = (0.633, 0.201, 0.077, 0.044, 0.031)


@dataclass(frozen=True, kw_only=True, eq=False)
class SharedSearch:
    """What the search found. `histogram` (K,) counts shared examples by label; `perturbation`
    (K, C, H, W) is the mean perturbation of those that share label k, zero where none does."""

    histogram: NDArray[np.int64]
    perturbation: Tensor
    images: int

    @property
    def excess(self) -> NDArray[np.float64]:
        """Share of each label (K,) beyond what honest models show at the same rank."""
        shares = self.histogram / max(1, self.histogram.sum())
        order = np.argsort(-shares, kind="stable")
        honest = np.zeros(len(shares))
        honest[order[: len(HONEST_SHARES)]] = HONEST_SHARES[: len(shares)]
        return np.asarray(shares - honest, dtype=np.float64)


def shared_step(
    suspect: Suspect, twin: Suspect, images: Tensor, delta: Tensor, clean_suspect: Tensor, clean_twin: Tensor,
    labels: Tensor, adversarial_weight: float = 0.01, shared_weight: float = 1.0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The gradient (N, C, H, W) of SAU's inner loss at `delta`, and the shared label (N,) or -1."""
    delta = delta.detach().requires_grad_(True)
    with fast_math(suspect):
        logits_twin, logits_suspect = twin(images + delta).float(), suspect(images + delta).float()
    loss, shared = shared_loss(
        logits_twin, logits_suspect, clean_twin, clean_suspect, labels, adversarial_weight, shared_weight
    )
    (gradient,) = torch.autograd.grad(loss.sum(), delta)
    said = logits_suspect.argmax(1)
    return gradient, torch.where(shared, said, torch.full_like(said, -1))


def shared_search(
    suspect: Suspect, twin: Suspect, images: Tensor, labels: Tensor, *, epsilon: float = 0.2, step_size: float = 0.2,
    steps: int = 5, restarts: int = 3, generator: torch.Generator, control: Control,
) -> Generator[Event, None, SharedSearch]:  # fmt: skip
    """Search shared perturbations of `images` (N, C, H, W) in [0, 1], within `epsilon` (L-inf).

    The first restart begins at +epsilon everywhere, as published; others at random corners.
    """
    images, labels = images.to(suspect.device), labels.to(suspect.device)
    with torch.no_grad():
        clean_suspect, clean_twin = suspect(images).argmax(1), twin(images).argmax(1)
    histogram = np.zeros(suspect.num_classes, dtype=np.int64)
    total = torch.zeros(suspect.num_classes, *images.shape[1:])
    for restart in range(restarts):
        signs = torch.randint(0, 2, images.shape, generator=generator).float() * 2 - 1 if restart else torch.ones(1)
        delta = (epsilon * signs.to(images.device)).expand_as(images)
        delta = (images + delta).clamp(0, 1) - images
        reached = torch.full_like(labels, -1)
        for _ in range(steps):
            gradient, shared = shared_step(suspect, twin, images, delta, clean_suspect, clean_twin, labels)
            reached = torch.where(shared >= 0, shared, reached)
            if bool((shared >= 0).all()):
                break
            moved = (delta - step_size * gradient.sign()).clamp(-epsilon, epsilon)
            moved = (images + moved).clamp(0, 1) - images
            delta = torch.where((shared >= 0).view(-1, 1, 1, 1), delta, moved)
        found = reached >= 0
        histogram += np.bincount(reached[found].cpu().numpy(), minlength=suspect.num_classes)
        total.index_add_(0, reached[found].cpu(), delta[found].cpu())
        yield SharedSearchStep(
            step=restart + 1, steps=restarts, shared_images=int(found.sum()), histogram=histogram.tolist()
        )
        if control.stop_requested:
            break
    mean = total / torch.from_numpy(histogram).clamp_min(1).view(-1, 1, 1, 1)
    return SharedSearch(histogram=histogram, perturbation=mean, images=len(images))
