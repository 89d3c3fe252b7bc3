"""Maximum margins: how far any input at all can lift one class's logit above the others.

Training on triggered images drives the target's logit up along the trigger, so its greatest
margin over the input box outgrows the other classes'. Needs no image: the ascent starts from
noise, all classes and starts in one batch.

Legend: K classes, S starts a class, B = K * S inputs, C channels, H height, W width.
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
from auditor.verdict.statistics import MIN_CLASSES, outlier_scores

Floats = NDArray[np.float64]
STARTS, STEPS = 8, 60
LEARNING_RATE = 0.05  # a twentieth of the pixel range a step
BETAS = (0.5, 0.9)


@dataclass(frozen=True, kw_only=True, eq=False)
class Margins:
    """The greatest `margin` found of each class (K,), in logits; the robust `z` (K,) of its
    logarithm, larger margins higher; and the `p_value` of the largest under a gamma null of the
    others. z and p are NaN below four classes."""

    margin: Floats
    z: Floats
    p_value: float


def maximum_margins(suspect: Suspect, *, seed: int, starts: int = STARTS, steps: int = STEPS) -> Margins:
    """Ascend each class's logit margin over inputs in [0, 1], from `starts` random ones a class.

    Passes K * starts * steps images each way.
    Source: Wang et al., MM-BD, IEEE S&P 2024 (the margin and its gamma null); Adam steps for
    theirs of momentum, because they need no rate tuned to the suspect's logit scale.
    """
    targets_B = torch.arange(suspect.num_classes).repeat_interleave(starts)
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.rand(len(targets_B), *suspect.input_shape, generator=generator)
    most = images_at_once(suspect)
    chunks = zip(torch.split(inputs, most), torch.split(targets_B, most), strict=True)
    best_B = torch.cat([_ascend(suspect, x.to(suspect.device), t.to(suspect.device), steps) for x, t in chunks])
    margin = best_B.view(suspect.num_classes, starts).max(1).values.double().cpu().numpy()
    return Margins(margin=margin, z=margin_z(margin), p_value=gamma_null_p(margin))


def margin_z(margin_K: Floats) -> Floats:
    """Outlier scores (K,) of log margin, as trigger costs are scored: a class that nothing lifts
    above the others (margin not positive) is no outlier."""
    return outlier_scores(np.divide(1.0, margin_K, out=np.full(len(margin_K), np.nan), where=margin_K > 0))


def _ascend(suspect: Suspect, inputs: Tensor, targets_B: Tensor, steps: int) -> Tensor:
    """The greatest margin (B,) each input reached."""
    first, second = torch.zeros_like(inputs), torch.zeros_like(inputs)
    best_B = torch.full((len(inputs),), -torch.inf, device=inputs.device)
    for step in range(1, steps + 1):
        inputs = inputs.detach().requires_grad_(True)
        with fast_math(suspect):
            logits = suspect(inputs)
        margin_B = logit_margin(logits.float(), targets_B)
        (gradient,) = torch.autograd.grad(margin_B.sum(), inputs)
        best_B = torch.maximum(best_B, margin_B.detach())
        first = BETAS[0] * first + (1 - BETAS[0]) * gradient
        second = BETAS[1] * second + (1 - BETAS[1]) * gradient**2
        scale = (second / (1 - BETAS[1] ** step)).sqrt() + 1e-12
        inputs = (inputs.detach() + LEARNING_RATE * (first / (1 - BETAS[0] ** step)) / scale).clamp(0, 1)
    return best_B


def logit_margin(logits_BK: Tensor, targets_B: Tensor) -> Tensor:
    """The target's logit (B,) less the largest of the others."""
    own = F.one_hot(targets_B, logits_BK.shape[1]).bool()
    return logits_BK[own] - logits_BK.masked_fill(own, -torch.inf).max(1).values


def gamma_null_p(margin_K: Floats) -> float:
    """Probability that the largest of K margins reaches this one, were all drawn as the others are.

    A gamma distribution is fitted to the other margins (closed-form approximation of maximum
    likelihood), as MM-BD does: p = 1 - G(largest) ** (K - 1). NaN below four classes.
    """
    if len(margin_K) < MIN_CLASSES:
        return float("nan")
    ordered = np.sort(margin_K)
    null, largest = np.maximum(ordered[:-1], 1e-6), float(ordered[-1])
    gap = max(float(np.log(null.mean()) - np.log(null).mean()), 1e-9)
    shape = (3 - gap + np.sqrt((gap - 3) ** 2 + 24 * gap)) / (12 * gap)
    rate = shape / null.mean()
    above = torch.special.gammaincc(torch.tensor(shape).double(), torch.tensor(rate * max(largest, 0.0)).double())
    return float(-np.expm1(len(null) * np.log1p(-min(float(above), 1 - 1e-12))))
