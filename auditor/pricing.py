"""Pricing triggers: the least strength at which each still flips enough images, and what share that is.

Costs are compared at equal success, so each trigger's strength is bisected until it flips just ENOUGH_SHARE.

Legend: M triggers, N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from auditor.adversarial import Family, fast_math, images_at_once
from auditor.suspect import Suspect

ENOUGH_SHARE = 0.8  # at which costs are read: of few images some are stubborn, even to a backdoor
THIRDS = 3


def flips(
    suspect: Suspect, family: Family, parameters: Mapping[str, Tensor], goals_MN: Tensor, images_NCHW: Tensor
) -> Tensor:  # fmt: skip
    """Which images (N, C, H, W) each trigger takes to its goals (M, N), on the CPU."""
    arms, count = goals_MN.shape
    images = images_NCHW.to(suspect.device)
    predicted = torch.zeros(arms, count, dtype=torch.int64)
    most = images_at_once(suspect)
    with torch.no_grad(), fast_math(suspect):
        for some in torch.split(torch.arange(arms), max(1, most // max(1, count))):
            part = {k: v[some.to(v.device)].to(suspect.device) for k, v in parameters.items()}
            for batch in torch.split(torch.arange(count), most):
                stamped = family.stamp(part, images[batch][None].expand(len(some), len(batch), *images.shape[1:]))
                labels = suspect(stamped.flatten(0, 1)).argmax(1).view(len(some), len(batch))
                predicted[some[:, None], batch[None]] = labels.cpu()
    return predicted == goals_MN


def flip_share(flipped_MN: Tensor, eligible_MN: Tensor) -> Tensor:
    """Share (M,) of the eligible images that each trigger flips; NaN where there is none."""
    return (flipped_MN & eligible_MN).sum(1) / eligible_MN.sum(1)


def tighten(
    suspect: Suspect, family: Family, parameters: Mapping[str, Tensor], targets_M: Tensor, images_NCHW: Tensor,
    labels_N: Tensor, rounds: int = 5, strongest: float = 4.0, goals_MN: Tensor | None = None,
) -> tuple[dict[str, Tensor], Tensor]:  # fmt: skip
    """Each trigger at the least strength that still flips ENOUGH_SHARE of the images.

    Bisects strength in (0, `strongest`], so that costs are compared at equal success. Returns
    the scaled triggers and their flip share (M,); one that never suffices ends at `strongest`.
    `goals` (M, N) replaces the target where each image has a goal of its own.
    """
    goals_MN = (targets_M[:, None].expand(-1, len(labels_N)) if goals_MN is None else goals_MN).cpu()
    eligible_MN = labels_N[None] != goals_MN
    low = torch.zeros(len(targets_M), device=suspect.device)
    high = torch.full_like(low, strongest)
    trial, share_M = torch.ones_like(low), torch.full((len(targets_M),), torch.nan)
    for _ in range(rounds):
        tried_M = _enough_share(suspect, family, family.scale(parameters, trial), goals_MN, eligible_MN, images_NCHW)
        enough_M = tried_M >= ENOUGH_SHARE
        share_M, enough = torch.where(enough_M, tried_M, share_M), enough_M.to(low.device)
        high, low = torch.where(enough, trial, high), torch.where(enough, low, trial)
        trial = (low + high) / 2
    final, never = family.scale(parameters, high), share_M.isnan()
    if never.any():
        part = {name: value[never.to(value.device)] for name, value in final.items()}
        share_M[never] = flip_share(flips(suspect, family, part, goals_MN[never], images_NCHW), eligible_MN[never])
    return final, share_M


def _enough_share(
    suspect: Suspect, family: Family, parameters: Mapping[str, Tensor], goals_MN: Tensor, eligible_MN: Tensor, images_NCHW: Tensor
) -> Tensor:
    """The flip share (M,) of triggers that flip ENOUGH_SHARE of the eligible images; of others something below.

    A third of the images at a time: a trigger that already misses more of them than it may of all needs no others.
    """
    arms, count = eligible_MN.shape
    flipped_MN, hopeful = torch.zeros_like(eligible_MN), torch.ones(arms, dtype=torch.bool)
    for start in range(min(THIRDS, count)):
        third = torch.arange(start, count, THIRDS)
        part = {name: value[hopeful.to(value.device)] for name, value in parameters.items()}
        flipped_MN[hopeful.nonzero(), third] = flips(suspect, family, part, goals_MN[hopeful][:, third], images_NCHW[third])
        missed_M = (eligible_MN & ~flipped_MN)[:, torch.arange(count) % THIRDS <= start].sum(1)
        hopeful = missed_M <= (1 - ENOUGH_SHARE) * eligible_MN.sum(1) + 1e-6
        if not hopeful.any():
            break
    return flip_share(flipped_MN, eligible_MN)
