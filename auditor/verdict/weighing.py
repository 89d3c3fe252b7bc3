"""Weighing a search: how far every class stands out, and which classes are suspicious.

Legend: F families, K classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from auditor.domain import ClassEvidence
from auditor.search.synthesis import Candidate, SearchResult
from auditor.verdict.confirmation import Confirmation
from auditor.verdict.statistics import family_wise_p, outlier_scores

SIGNIFICANCE = 0.02
SECOND_TARGET_FACTOR = 1.25
LEAD_BELOW = 0.8


@dataclass(frozen=True, kw_only=True, eq=False)
class Lead:
    """One family's candidate toward a suspicious class, and what confirmation made of it.

    `null_cost` is the median cost of the other classes in that family.
    """

    candidate: Candidate
    z: float
    null_cost: float
    confirmation: Confirmation | None = None

    @property
    def relative_cost(self) -> float:
        """Its cost as a share of what the median of the other classes needs."""
        return (self.candidate.cost or math.inf) / self.null_cost


@dataclass(frozen=True, kw_only=True, eq=False)
class Suspicion:
    """A class that stands out: its score, family-wise p-value, and its leads, strongest first."""

    target_class: int
    z: float
    p_value: float
    leads: list[Lead]


def weigh(search: SearchResult) -> tuple[list[ClassEvidence], list[Suspicion]]:
    """Per-class evidence of every family, and the classes that stand out, most suspicious first.

    A class stands out by one family, or by its scores over all families taken together
    (Stouffer's sum), which catches a trigger that several families find a little cheap.
    """
    families = list(dict.fromkeys(c.family for c in search.candidates))
    by_class: dict[int, dict[str, Candidate]] = {}
    for candidate in search.candidates:
        by_class.setdefault(candidate.target_class, {})[candidate.family] = candidate
    classes = [c for c, found in by_class.items() if len(found) == len(families)]
    cost_FK = np.array([[_cost(by_class[c][f]) for c in classes] for f in families])
    z_FK = np.array([outlier_scores(cost_K) for cost_K in cost_FK])
    tests = len(classes) * (len(families) + (len(families) > 1))
    evidence, suspicions = [], []
    for k, target in enumerate(classes):
        found = [by_class[target][family] for family in families]
        evidence += [_evidence(c, float(z), tests, search) for c, z in zip(found, z_FK[:, k], strict=True)]
        together = float(z_FK[:, k].sum()) / math.sqrt(len(families))
        z = max(float(np.nan_to_num(z_FK[:, k], nan=-np.inf).max()), together)
        if math.isnan(z) or family_wise_p(z, tests) > SIGNIFICANCE:
            continue
        leads = _leads(found, z_FK[:, k], np.delete(cost_FK, k, axis=1))
        if leads:
            suspicions.append(Suspicion(target_class=target, z=z, p_value=family_wise_p(z, tests), leads=leads))
    return evidence, _as_cheap_as_the_first(sorted(suspicions, key=lambda s: -s.z))


def _cost(candidate: Candidate) -> float:
    return math.nan if candidate.cost is None else candidate.cost


def _leads(found: list[Candidate], z_F: np.ndarray, others_FK: np.ndarray) -> list[Lead]:
    """The families in which the class is cheap, strongest first; at least the strongest."""
    leads = [
        Lead(candidate=c, z=float(z), null_cost=float(np.nanmedian(others_K)))
        for c, z, others_K in zip(found, z_F, others_FK, strict=True)
        if c.cost is not None and not math.isnan(z) and np.isfinite(others_K).any()
    ]
    leads.sort(key=lambda lead: -lead.z)
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
    )  # fmt: skip
