"""How far pairs of a source and a target class stand out, by the costs of triggers from one to the other.

Some pairs of classes are close by nature: a car becomes a lorry more easily than most things become another. So a pair
must be cheaper, beside the other pairs of the suspect, than it is in honest models of the same data set, by a factor
and by robust deviations alike; `python -m benchmarks.sources` measures those. For a data set that no honest model is
known of, closeness is taken to be mutual: a pair must stand out for its cost beside those of its source and its
target, and for how much cheaper it is than the way back. Ours.

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
STANDS_OUT = 5.0  # what honest models reach, and backdoored ones: benchmarks/RESULTS.md, "sources"
CHEAPER = 4.0  # times, than in honest models: a pair that is just so much cheaper stands out by STANDS_OUT
LEAST_SCALE = 0.1  # of log costs: pairs that all cost the same must not make outliers of their noise
ROUNDS = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class PairProfile:
    """Mean log costs (K, K), each beside the median of its model, of the honest models of a data set."""

    name: str
    models: int
    beside: Floats


def pair_standings(cost_KK: Floats, profiles: Sequence[PairProfile] | None = None) -> tuple[Floats, str]:
    """How far each pair stands out (K, K), STANDS_OUT being what is asked; NaN where there is no cost.

    Also names the profile that was taken off, "" for none: of `profiles` (those shipped, if None)
    for as many classes, the one that the costs show most of.
    """
    log_KK = np.log(np.maximum(cost_KK, 1e-12))
    beside_KK, name, most = beside_median(log_KK), "", 0.0
    left_KK = beside_KK
    for profile in shipped() if profiles is None else profiles:
        if profile.beside.shape == cost_KK.shape and (share := shared(beside_KK, profile.beside)) > most:
            left_KK, name, most = beside_median(beside_KK - share * np.nan_to_num(profile.beside)), profile.name, share
    if not name:
        left_KK = polished(log_KK)
        return np.minimum(low_side_z(left_KK), low_side_z(left_KK - left_KK.T)), ""
    return np.minimum(low_side_z(left_KK), -left_KK * (STANDS_OUT / np.log(CHEAPER))), name


def beside_median(values_KK: Floats) -> Floats:
    """The values less the median of those that are known."""
    known = values_KK[np.isfinite(values_KK)]
    return values_KK - np.median(known) if len(known) else values_KK


def shared(beside_KK: Floats, profile_KK: Floats) -> float:
    """How much of a profile the log costs show, in [0, 1]: the slope through zero."""
    known_KK = np.isfinite(beside_KK) & np.isfinite(profile_KK)
    power = float((profile_KK[known_KK] ** 2).sum())
    return float(np.clip((beside_KK[known_KK] * profile_KK[known_KK]).sum() / power, 0, 1)) if power else 0.0


def make_pair_profile(name: str, costs: Sequence[Floats]) -> PairProfile:
    """The profile of honest models' cost matrices (K, K); a pair is NaN where none of them has a cost."""
    beside_NKK = np.array([beside_median(np.log(np.maximum(cost_KK, 1e-12))) for cost_KK in costs])
    known_KK = np.isfinite(beside_NKK).any(0)
    mean_KK = np.full(known_KK.shape, np.nan)
    mean_KK[known_KK] = np.nanmean(beside_NKK[:, known_KK], axis=0)
    return PairProfile(name=name, models=len(costs), beside=mean_KK)


@functools.cache
def shipped() -> tuple[PairProfile, ...]:
    """The profiles that come with the package."""
    stored = json.loads(resources.files("auditor.verdict").joinpath(PAIRS).read_text(encoding="utf-8"))
    return tuple(PairProfile(name=item["name"], models=item["models"], beside=np.array(item["beside"], dtype=np.float64))
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
