"""What triggers from one class to another should cost in a suspect, and how far one that costs less stands out.

Some pairs of classes are close by nature: a car becomes a lorry more easily than most things become another. So a pair
must be cheaper than it should be by what honest models of the same data set show of it, by a factor and by robust
deviations alike; `python -m benchmarks.sources` measures those. For a data set that no honest model is known of,
closeness is taken to be mutual: a pair must be cheaper than its source and its target let expect, and than the way back
is beside what they let expect. Ours.

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
CHEAPER = 4.0  # times than it should be; what honest models reach, and backdoored ones: benchmarks/RESULTS.md, "sources"
DEVIATIONS = 3.0
LEAST_SCALE = 0.1  # of log costs: pairs that all cost the same must not make outliers of their noise
ROUNDS = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class PairProfile:
    """Mean log costs (K, K), each beside the median of its model, of the honest models of a data set."""

    name: str
    models: int
    beside: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Expected:
    """The log costs (K, K) that a suspect's pairs should have, how far they scatter around them (robust deviations), and the
    name of the profile that this rests on, "" for none."""

    log_cost: Floats
    scatter: float
    profile: str = ""

    def standing(self, source: int, target: int, log_cost: float) -> float:
        """How far a pair stands out that costs so much; 1 is what is asked: CHEAPER, and by DEVIATIONS."""
        below = float(self.log_cost[source, target]) - log_cost
        return min(below / float(np.log(CHEAPER)), below / (DEVIATIONS * self.scatter))


def expected_costs(cost_KK: Floats, profiles: Sequence[PairProfile] | None = None) -> Expected:
    """What the costs (K, K) of a suspect's pairs should be, NaN where there is no cost; by that of `profiles` (those shipped, if
    None) for as many classes which the costs show most of."""
    log_KK = np.log(np.maximum(cost_KK, 1e-12))
    beside_KK, best, most = beside_median(log_KK), None, 0.0
    for profile in shipped() if profiles is None else profiles:
        if profile.beside.shape == cost_KK.shape and (share := shared(beside_KK, profile.beside)) > most:
            best, most = profile, share
    left_KK = polished(log_KK) if best is None else beside_median(log_KK - most * np.nan_to_num(best.beside))
    way_back_KK = np.minimum(0, np.nan_to_num(left_KK.T)) if best is None else 0
    return Expected(log_cost=log_KK - left_KK + way_back_KK, scatter=scatter(left_KK), profile=best.name if best else "")


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


def scatter(values_KK: Floats) -> float:
    """The median absolute deviation of the values that are known, in units of a standard deviation; at least LEAST_SCALE."""
    known = values_KK[np.isfinite(values_KK)]
    return max(1.4826 * float(np.median(np.abs(known - np.median(known)))), LEAST_SCALE) if len(known) else LEAST_SCALE
