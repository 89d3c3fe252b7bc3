"""How far each class's trigger cost stands out from what the other classes cost.

Log cost, because costs spread by factors; each class against the others only, so that a cheap
target does not widen the scale it is judged by; family-wise over all classes and families,
because the cheapest of many is always cheap. A floor on the spread stands in for what a few
null classes cannot tell.

Legend: K classes.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

# The smallest standard deviation of log cost between the classes of one honest model that is
# believed; measured on the development models (benchmarks/RESULTS.md, "verdict").
SPREAD_FLOOR = 0.15
CENSORED_FACTOR = 1.2
MIN_CLASSES = 4
ENOUGH_FOUND = 3  # other classes with a trigger of their own; what is unknown of the rest would only blur them


def outlier_scores(cost_K: NDArray[np.float64], bound_K: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Robust z-scores (K,) of log cost on the low side; larger is more suspicious.

    z = (median of the others - own) / max(1.4826 MAD of the others, floor), over the others for
    which a trigger was found (three at least). Where fewer were, those without one (NaN) count as a
    little dearer than the dearest found, or as the largest of their `bound_K`, at which none worked
    yet, if that is more. All NaN when fewer than four classes were searched or none gave a trigger.
    Source: Wang et al., Neural Cleanse, IEEE S&P 2019, on log costs and leaving one out.
    """
    scores = np.full(len(cost_K), np.nan)
    found = np.isfinite(cost_K)
    if len(cost_K) < MIN_CLASSES or not found.any():
        return scores
    unfound = CENSORED_FACTOR * np.nanmax(cost_K)
    if bound_K is not None and not found.all():
        unfound = np.fmax(unfound, np.nanmax(np.append(bound_K[~found], unfound)))
    log_cost = np.log(np.where(found, cost_K, unfound))
    for own in range(len(cost_K)):
        known = np.delete(found, own)
        others = np.delete(log_cost, own)
        others = others[known] if known.sum() >= ENOUGH_FOUND else others
        median = np.median(others)
        spread = max(1.4826 * float(np.median(np.abs(others - median))), SPREAD_FLOOR)
        scores[own] = (median - log_cost[own]) / spread
    scores[~found] = np.minimum(scores[~found], 0.0)
    return scores


def expected_maximum(count: int) -> float:
    """The expected largest of `count` standard normal values, by Blom's approximation (1958)."""
    return NormalDist().inv_cdf((count - 0.375) / (count + 0.25)) if count > 1 else 0.0


def family_wise_p(z: float, tests: int) -> float:
    """Probability of a score at least `z` somewhere among `tests`, under a normal null (Bonferroni)."""
    return min(1.0, tests * 0.5 * math.erfc(z / math.sqrt(2)))
