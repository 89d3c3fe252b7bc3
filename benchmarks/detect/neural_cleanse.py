"""Neural Cleanse, written from its paper's formulas: the baseline on the same models and images.

For every class c it minimises CE(f((1 - m) x + m p), c) + cost * |m|_1 over a mask m and a pattern p,
with Adam. The cost starts at zero; after `patience` epochs that flip enough images it is set, then it
doubles after as many that do and falls by 2^1.5 after as many that do not. The smallest mask that
flipped enough images in its epoch counts, or the last where none did. A class is flagged when its
mask is smaller than the median by more than twice the (normal-consistent) median absolute deviation.
Source: Wang et al., Neural Cleanse, IEEE S&P 2019.

All classes descend in one batch: they never interact, so that changes only the time it takes. The
pass is bfloat16 where the hardware has it, as our own search's is.

Legend: K classes, A classes in one pass, B images of a batch, N images, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from auditor.adversarial import fast_math, images_at_once
from auditor.suspect import Suspect

FLAGGED_ABOVE = 2.0
CONSISTENCY = 1.4826
EPSILON = 1e-7


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The published settings, but for `epochs`: 50 of BackdoorBench's 80, for the time it takes."""

    epochs: int = 50
    batch_size: int = 32
    learning_rate: float = 0.1
    betas: tuple[float, float] = (0.5, 0.9)
    initial_cost: float = 1e-3
    cost_up: float = 2.0
    cost_down: float = 2.0**1.5
    patience: int = 5
    enough: float = 0.98


@dataclass(frozen=True, kw_only=True, eq=False)
class Inverted:
    """Each class's reversed trigger: `mask_l1` (K,) in pixels, the share (K,) of images it flipped in
    its epoch, and whether that was enough (K,); `mask` (K, H, W) and `pattern` (K, C, H, W) in [0, 1]."""

    mask_l1: NDArray[np.float64]
    flipped: NDArray[np.float64]
    succeeded: NDArray[np.bool_]
    mask: Tensor
    pattern: Tensor


def anomaly_index(mask_l1_K: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far below the median each class's mask is, in deviations (K,); larger is more suspicious.

    (median - value) / (1.4826 MAD); classes above the median are negative, as only small masks are
    flagged. All NaN when the MAD is zero or K < 3.
    Source: Wang et al., Neural Cleanse, IEEE S&P 2019, section V.
    """
    median = np.median(mask_l1_K)
    deviation = CONSISTENCY * np.median(np.abs(mask_l1_K - median))
    if len(mask_l1_K) < 3 or deviation == 0:
        return np.full(len(mask_l1_K), np.nan)
    return np.asarray((median - mask_l1_K) / deviation)


def flagged(index_K: NDArray[np.float64]) -> list[int]:
    """The classes whose index is above two, most suspicious first."""
    return [int(k) for k in np.argsort(-index_K, kind="stable") if index_K[k] > FLAGGED_ABOVE]


class Costs:
    """The schedule of every class's cost (K,) of mask size, fed the share flipped after each epoch."""

    def __init__(self, classes: int, settings: Settings) -> None:
        self.settings = settings
        self.cost = torch.zeros(classes)
        self._up, self._down = torch.zeros(2, classes, dtype=torch.int64)

    def update(self, enough_K: Tensor) -> None:
        """Count an epoch, and move the costs whose patience is at its end."""
        s = self.settings
        self._up = torch.where(enough_K, self._up + 1, 0)
        # Before a cost is set there is nothing to lower.
        self._down = torch.where(enough_K | (self.cost == 0), 0, self._down + 1)
        raised, lowered = self._up >= s.patience, self._down >= s.patience
        risen = torch.where(self.cost == 0, s.initial_cost, self.cost * s.cost_up)
        self.cost = torch.where(raised, risen, torch.where(lowered, self.cost / s.cost_down, self.cost))
        self._up[raised], self._down[lowered] = 0, 0


def invert(
    suspect: Suspect, images_NCHW: Tensor, *, seed: int, settings: Settings | None = None,
    classes_at_once: int | None = None,
) -> Inverted:  # fmt: skip
    """Reverse a trigger toward every class on `images` (N, C, H, W) in [0, 1].

    Passes epochs * N images for each class, forward and backward. Raises ValueError without images.
    """
    if not len(images_NCHW):
        raise ValueError("Neural Cleanse needs clean images")
    s, classes = settings or Settings(), suspect.num_classes
    generator = torch.Generator().manual_seed(seed)
    raw = [_begin((classes, *shape), generator).to(suspect.device)
           for shape in (suspect.input_shape[1:], suspect.input_shape)]  # fmt: skip
    optimizer = torch.optim.Adam(raw, lr=s.learning_rate, betas=s.betas)
    at_once = classes_at_once or max(1, images_at_once(suspect) // min(s.batch_size, len(images_NCHW)))
    costs = Costs(classes, s)
    best_l1, best_share = torch.full((classes,), torch.inf), torch.zeros(classes)
    best = [open_(r) for r in raw]
    for _ in range(s.epochs):
        hits_K = torch.zeros(classes)
        for batch in torch.split(torch.randperm(len(images_NCHW), generator=generator), s.batch_size):
            hits_K += _step(suspect, raw, optimizer, images_NCHW[batch].to(suspect.device), costs.cost, at_once)
        share_K = hits_K / len(images_NCHW)
        now = [open_(r) for r in raw]
        l1_K, enough_K = now[0].sum((1, 2)).cpu(), share_K >= s.enough
        better_K = enough_K & (l1_K < best_l1)
        best_l1 = torch.where(better_K, l1_K, best_l1)
        take_K = better_K | best_l1.isinf()  # the last one counts until one flips enough
        best_share = torch.where(take_K, share_K, best_share)
        best = [torch.where(take_K.to(n.device).view(-1, *[1] * (n.dim() - 1)), n, b)
                for n, b in zip(now, best, strict=True)]  # fmt: skip
        costs.update(enough_K)
    mask, pattern = (b.cpu() for b in best)
    return Inverted(mask_l1=mask.sum((1, 2)).double().numpy(), flipped=best_share.double().numpy(),
                    succeeded=best_l1.isfinite().numpy(), mask=mask, pattern=pattern)  # fmt: skip


def _begin(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Raw values whose opened form is uniform in [0, 1]."""
    return torch.atanh((torch.rand(shape, generator=generator) - 0.5) * (2 - EPSILON))


def open_(raw: Tensor) -> Tensor:
    """Unconstrained values as the mask and pattern they stand for, in [0, 1]."""
    return raw.tanh() / 2 + 0.5


def _step(
    suspect: Suspect, raw: list[Tensor], optimizer: torch.optim.Optimizer, images_BCHW: Tensor, cost_K: Tensor,
    at_once: int,
) -> Tensor:  # fmt: skip
    """One Adam step of every class on one batch; how many images each flipped (K,), on the CPU."""
    batch, hits = len(images_BCHW), []
    for value in raw:
        value.grad = torch.zeros_like(value)
    for some_A in torch.split(torch.arange(len(cost_K)), at_once):
        part = [value[some_A].requires_grad_(True) for value in raw]
        mask_AHW, pattern_ACHW = (open_(value) for value in part)
        stamped = images_BCHW + mask_AHW[:, None, None] * (pattern_ACHW[:, None] - images_BCHW)  # (A, B, C, H, W)
        target = some_A.to(images_BCHW.device).repeat_interleave(batch)
        with fast_math(suspect):
            logits = suspect(stamped.flatten(0, 1))
        loss_A = F.cross_entropy(logits.float(), target, reduction="none").view(-1, batch).mean(1)
        size_A = cost_K[some_A].to(loss_A.device) * mask_AHW.sum((1, 2))
        for value, gradient in zip(raw, torch.autograd.grad((loss_A + size_A).sum(), part), strict=True):
            assert value.grad is not None
            value.grad[some_A] = gradient
        hits.append((logits.argmax(1) == target).view(-1, batch).sum(1).cpu())
    optimizer.step()
    return torch.cat(hits).float()
