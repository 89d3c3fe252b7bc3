"""What each class costs in honest models of one data set, and how much of that a suspect repeats.

Some classes are cheap to reach in every network trained on a data set: trucks by faint smooth
patterns, frogs by noise. Within one model such a class looks like a target. Where the bank holds
honest models of as many classes, the suspect's log costs are compared with theirs: one slope,
fitted robustly over all families, says how much of the profile the suspect shows (0: another data
set or another order of classes; 1: the same), and outliers are sought in what is left.

Legend: F families, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auditor.verdict.statistics import outlier_scores

Floats = NDArray[np.float64]
KNOWN_SHARE = 0.8  # of the searched classes must have a place in a family's profile for it to be used
LEAST_DIFFERENCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Median log costs of honest models by family and class (NaN: too seldom found), each family's
    median over classes taken off. `name` is the data set, `models` how many stand behind it."""

    name: str
    models: int
    log_cost: Mapping[str, Floats]

    @property
    def classes(self) -> int:
        return max((len(values) for values in self.log_cost.values()), default=0)

    def over(self, families: Sequence[str], classes: Sequence[int]) -> Floats:
        """The profile (F, K) of these families and classes."""
        nothing = np.full(self.classes, np.nan)
        return np.array([self.log_cost.get(name, nothing)[list(classes)] for name in families])


def shared_slope(log_cost_FK: Floats, profile_FK: Floats) -> float:
    """How much of the profile the costs show, in [0, 1]: the weighted median of the slopes between
    every two classes, families taken apart. 0 when they have no two classes in common.

    Source: Theil (1950) and Sen (1968); pairs weigh as much as the profile tells them apart.
    """
    slopes, weights = [np.zeros(0)], [np.zeros(0)]
    for own_K, known_K in zip(log_cost_FK, profile_FK, strict=True):
        both = np.isfinite(own_K) & np.isfinite(known_K)
        first, second = np.triu_indices(int(both.sum()), 1)
        apart = known_K[both][first] - known_K[both][second]
        told = np.abs(apart) > LEAST_DIFFERENCE
        slopes.append((own_K[both][first] - own_K[both][second])[told] / apart[told])
        weights.append(np.abs(apart[told]))
    slope, weight = np.concatenate(slopes), np.concatenate(weights)
    if not len(slope):
        return 0.0
    order = np.argsort(slope, kind="stable")
    half = np.searchsorted(np.cumsum(weight[order]), 0.5 * weight.sum())
    return float(np.clip(slope[order][half], 0, 1))


def profiled_scores(cost_FK: Floats, bound_FK: Floats, profile_FK: Floats | None) -> tuple[Floats, float]:
    """Outlier scores (F, K) of what the costs leave of the profile, and the slope; plain ones without it.

    `cost_FK` is NaN where no trigger was found and `bound_FK` what is known of it then.
    """
    if profile_FK is None or not profile_FK.size:
        return _plain(cost_FK, bound_FK), 0.0
    slope = shared_slope(np.log(cost_FK), profile_FK)
    expected_FK = np.array([
        np.nan_to_num(row) if np.isfinite(row).mean() >= KNOWN_SHARE else np.zeros_like(row) for row in profile_FK
    ])  # fmt: skip
    factor_FK = np.exp(-slope * expected_FK)
    return _plain(cost_FK * factor_FK, bound_FK * factor_FK), slope


def _plain(cost_FK: Floats, bound_FK: Floats) -> Floats:
    return np.array([outlier_scores(cost_K, bound_K) for cost_K, bound_K in zip(cost_FK, bound_FK, strict=True)])


def make_profile(name: str, costs: Sequence[Mapping[str, Floats]]) -> Profile:
    """The profile of honest models, each a mapping from family to log costs (K,), NaN where none was found."""
    families = {family for cost in costs for family in cost}
    centred = {
        family: np.array([cost[family] - np.nanmedian(cost[family]) for cost in costs
                          if family in cost and np.isfinite(cost[family]).any()])
        for family in sorted(families)
    }  # fmt: skip
    return Profile(name=name, models=len(costs), log_cost={f: _median(rows) for f, rows in centred.items() if len(rows)})


def _median(rows_NK: Floats) -> Floats:
    """The median (K,) of those that found a trigger, NaN where fewer than half did."""
    often_K = np.isfinite(rows_NK).mean(0) >= 0.5
    median_K = np.full(rows_NK.shape[1], np.nan)
    median_K[often_K] = np.nanmedian(rows_NK[:, often_K], axis=0)
    return median_K
