"""Weighing a search: how far every class stands out, and which classes are suspicious.

Legend: F families, K classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from auditor.domain import ClassEvidence
from auditor.search.synthesis import Candidate, SearchResult
from auditor.verdict.calibration import Bank
from auditor.verdict.confirmation import Confirmation
from auditor.verdict.profiles import profiled_scores
from auditor.verdict.statistics import family_wise_p

SIGNIFICANCE = 0.02
SECOND_TARGET_FACTOR = 1.25
LEAD_BELOW = 0.8


@dataclass(frozen=True, kw_only=True, eq=False)
class Lead:
    """One family's candidate toward a suspicious class, and what confirmation made of it.

    `null_cost` is the median cost of the other classes in that family, and `standing` its z in
    units of what honest models reach in that family (z itself without a bank).
    """

    candidate: Candidate
    z: float
    null_cost: float
    standing: float = 0.0
    confirmation: Confirmation | None = None

    @property
    def relative_cost(self) -> float:
        """Its cost as a share of what the median of the other classes needs."""
        return (self.candidate.cost or math.inf) / self.null_cost


@dataclass(frozen=True, kw_only=True, eq=False)
class Suspicion:
    """A class that stands out: its largest outlier score, its family-wise p-value, its calibrated
    score (None without a bank), and its leads, strongest first."""

    target_class: int
    z: float
    p_value: float
    leads: list[Lead]
    score: float | None = None


class Weighed(NamedTuple):
    """Per-class evidence of every family, the classes that stand out, most suspicious first, every
    class's calibrated score (empty without a bank), and the class profile that was taken off with
    the share of it that the suspect shows ("" and 0 without one)."""

    evidence: list[ClassEvidence]
    suspicions: list[Suspicion]
    scores: dict[int, float]
    profile: str = ""
    slope: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class _Grid:
    """The candidates of a search as arrays over F families and K classes."""

    families: list[str]
    classes: list[int]
    found: dict[int, dict[str, Candidate]]
    priced_FK: NDArray[np.float64]
    z_FK: NDArray[np.float64]
    scale_F: NDArray[np.float64]
    profile: str
    slope: float

    @property
    def tests(self) -> int:
        return len(self.classes) * (len(self.families) + (len(self.families) > 1))


def weigh(search: SearchResult, bank: Bank | None = None) -> Weighed:
    """How far every class stands out.

    With a `bank`, a class stands out when its calibrated score reaches the threshold.
    Without, by one family, or by its scores over all families taken together (Stouffer's sum),
    which catches a trigger that several families find a little cheap.
    """
    grid, table = _grid(search, bank), bank.table if bank else None
    score_K = None
    if bank and grid.classes:
        score_K = bank.table.scoring.class_scores(grid.families, grid.z_FK, bank.rows(grid.classes))
    evidence, suspicions = [], []
    for k, target in enumerate(grid.classes):
        found = [grid.found[target][family] for family in grid.families]
        evidence += [_evidence(c, float(z), grid.tests, search) for c, z in zip(found, grid.z_FK[:, k], strict=True)]
        z = _largest(grid.z_FK[:, k], table is None)
        stands_out = family_wise_p(z, grid.tests) <= SIGNIFICANCE if score_K is None else score_K[k] >= bank.threshold  # type: ignore[union-attr]
        leads = _leads(found, grid.z_FK[:, k], grid.scale_F, np.delete(grid.priced_FK, k, axis=1))
        if stands_out and leads and not math.isnan(z):
            suspicions.append(Suspicion(target_class=target, z=z, p_value=family_wise_p(z, grid.tests), leads=leads,
                                        score=None if score_K is None else float(score_K[k])))  # fmt: skip
    suspicions.sort(key=lambda s: (-(s.score or 0), -s.z))
    scores = {} if score_K is None else dict(zip(grid.classes, score_K.tolist(), strict=True))
    return Weighed(evidence, _as_cheap_as_the_first(suspicions), scores, grid.profile, grid.slope)


def _grid(search: SearchResult, bank: Bank | None) -> _Grid:
    families = list(dict.fromkeys(c.family for c in search.candidates))
    by_class: dict[int, dict[str, Candidate]] = {}
    for candidate in search.candidates:
        by_class.setdefault(candidate.target_class, {})[candidate.family] = candidate
    classes = [c for c, found in by_class.items() if len(found) == len(families)]
    cost_FK = np.array([[_cost(by_class[c][f]) for c in classes] for f in families])
    bound_FK = np.array([[_bound(by_class[c][f]) for c in classes] for f in families])
    priced_FK = np.where(np.isnan(cost_FK), bound_FK, cost_FK)  # of a class without a trigger, what is known
    scale = bank.table.scoring.scale if bank else {}
    z_FK, slope, name = *profiled_scores(cost_FK, bound_FK, None), ""
    for profile in bank.profiles if bank and classes else ():
        with_it, share = profiled_scores(cost_FK, bound_FK, profile.over(families, classes))
        if share > slope:
            z_FK, slope, name = with_it, share, profile.name
    return _Grid(
        families=families, classes=classes, found=by_class, priced_FK=priced_FK, z_FK=z_FK, profile=name, slope=slope,
        scale_F=np.array([scale.get(family, 1.0) for family in families]),
    )  # fmt: skip


def _largest(z_F: NDArray[np.float64], with_sum: bool) -> float:
    largest = float(np.nan_to_num(z_F, nan=-np.inf).max())
    return max(largest, float(z_F.sum()) / math.sqrt(len(z_F))) if with_sum else largest


def _cost(candidate: Candidate) -> float:
    return math.nan if candidate.cost is None else candidate.cost


def _bound(candidate: Candidate) -> float:
    return math.nan if candidate.bound is None else candidate.bound


def _leads(
    found: list[Candidate], z_F: NDArray[np.float64], scale_F: NDArray[np.float64], others_FK: NDArray[np.float64]
) -> list[Lead]:
    """The families in which the class is cheap, strongest first; at least the strongest."""
    ranked = [
        Lead(candidate=c, z=float(z), null_cost=float(np.nanmedian(others_K)), standing=float(z / scale))
        for c, z, scale, others_K in zip(found, z_F, scale_F, others_FK, strict=True)
        if c.cost is not None and not math.isnan(z) and np.isfinite(others_K).any()
    ]
    leads = sorted(ranked, key=lambda lead: -lead.standing)
    return [lead for lead in leads if lead is leads[0] or lead.relative_cost <= LEAD_BELOW]


def _as_cheap_as_the_first(suspicions: list[Suspicion]) -> list[Suspicion]:
    """Without those that are far dearer than the most suspicious: where one class has a real
    shortcut, a class that is merely close to others must not be called a second target."""
    if not suspicions:
        return []
    most = SECOND_TARGET_FACTOR * suspicions[0].leads[0].relative_cost
    return [s for s in suspicions if s is suspicions[0] or s.leads[0].relative_cost <= most]


def _evidence(candidate: Candidate, z: float, tests: int, search: SearchResult) -> ClassEvidence:
    shared = None
    if search.shared is not None and search.shared.histogram.sum():
        shared = float(search.shared.histogram[candidate.target_class] / search.shared.histogram.sum())
    known = not math.isnan(z)
    return ClassEvidence(
        target_class=candidate.target_class, family=candidate.family, cost=candidate.cost,
        attack_success_rate=candidate.flip_share, anomaly_index=z if known else None,
        p_value=family_wise_p(z, tests) if known else None, shared_share=shared,
        cost_bound=candidate.bound if candidate.cost is None else None,
    )  # fmt: skip
