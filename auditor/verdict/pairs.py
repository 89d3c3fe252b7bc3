"""How far pairs of a source and a target class stand out, by the costs of triggers from one to the other.

Some pairs of classes are close by nature, but closeness is mutual: toward a backdoor's target one
way is cheap and the way back is not. So a pair must stand out twice, for its cost beside those of
its source and its target, and for how much cheaper it is than the way back. What honest models of
the same data set show of their pairs (a car becomes a lorry more easily than the reverse) is taken
off first, as far as the suspect shows it; `python -m benchmarks.sources` measures it. Ours.

Legend: K classes; rows are sources, columns targets.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PAIRS = "pairs.json"
LEAST_SCALE = 0.1  # of log costs: pairs that all cost the same must not make outliers of their noise
ROUNDS = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class PairProfile:
    """Mean polished log costs (K, K) of the honest models of a data set."""

    name: str
    models: int
    residual: Floats


def pair_standings(cost_KK: Floats, profiles: Sequence[PairProfile] | None = None) -> tuple[Floats, str]:
    """How far each pair stands out (K, K): the lesser of two robust z-scores, NaN where there is no cost.

    Also names the profile that was taken off, "" for none: of `profiles` (those shipped, if None)
    for as many classes, the one that the costs show most of.
    """
    residual_KK, name, most = polished(np.log(np.maximum(cost_KK, 1e-12))), "", 0.0
    left_KK = residual_KK
    for profile in shipped() if profiles is None else profiles:
        if profile.residual.shape == cost_KK.shape and (share := shared(residual_KK, profile.residual)) > most:
            left_KK, name, most = residual_KK - share * np.nan_to_num(profile.residual), profile.name, share
    return np.minimum(low_side_z(left_KK), low_side_z(left_KK - left_KK.T)), name


def shared(residual_KK: Floats, profile_KK: Floats) -> float:
    """How much of a profile the residuals show, in [0, 1]: the slope through zero."""
    known_KK = np.isfinite(residual_KK) & np.isfinite(profile_KK)
    power = float((profile_KK[known_KK] ** 2).sum())
    return float(np.clip((residual_KK[known_KK] * profile_KK[known_KK]).sum() / power, 0, 1)) if power else 0.0


def make_pair_profile(name: str, costs: Sequence[Floats]) -> PairProfile:
    """The profile of honest models' cost matrices (K, K); a pair is NaN where none of them has a cost."""
    residual_NKK = np.array([polished(np.log(np.maximum(cost_KK, 1e-12))) for cost_KK in costs])
    known_KK = np.isfinite(residual_NKK).any(0)
    mean_KK = np.full(known_KK.shape, np.nan)
    mean_KK[known_KK] = np.nanmean(residual_NKK[:, known_KK], axis=0)
    return PairProfile(name=name, models=len(costs), residual=mean_KK)


@functools.cache
def shipped() -> tuple[PairProfile, ...]:
    """The profiles that come with the package."""
    stored = json.loads(resources.files("auditor.verdict").joinpath(PAIRS).read_text(encoding="utf-8"))
    return tuple(PairProfile(name=item["name"], models=item["models"], residual=np.array(item["residual"], dtype=np.float64))
                 for item in stored)  # fmt: skip


def polished(values_KK: Floats) -> Floats:
    """What is left of a matrix beside row and column medians (Tukey's median polish, 1977)."""
    left = values_KK.copy()
    with np.errstate(all="ignore"):
        for _ in range(ROUNDS):
            for axis in (1, 0):
                if np.isfinite(left).any():
                    middle = np.array([np.median(v[np.isfinite(v)]) if np.isfinite(v).any() else 0.0 for v in np.moveaxis(left, axis, -1)])
                    left -= np.expand_dims(middle, axis)
    return left


def low_side_z(values_KK: Floats) -> Floats:
    """Median absolute deviations below the median, NaN where there is no value."""
    known = values_KK[np.isfinite(values_KK)]
    if not len(known):
        return values_KK
    middle = float(np.median(known))
    scale = max(1.4826 * float(np.median(np.abs(known - middle))), LEAST_SCALE)
    z: Floats = (middle - values_KK) / scale
    return z
