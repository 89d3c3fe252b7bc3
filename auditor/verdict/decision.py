"""From searched candidates to a verdict with its reasons.

First version: log-cost outliers under a family-wise threshold, confirmed on unseen images.
Uncalibrated: the score ranks suspicion, and `calibration` is None.

Legend: K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from auditor.domain import BackdoorKind, ClassEvidence, TriggerFinding, Verdict
from auditor.search.synthesis import Candidate, SearchResult
from auditor.suspect import Suspect
from auditor.triggers import Trigger
from auditor.verdict.confirmation import Confirmation, confirm
from auditor.verdict.statistics import family_wise_p, outlier_scores

SIGNIFICANCE = 0.05
UNTESTED = [
    "Triggers other than patches and additive perturbations (warps, generators, input-dependent ones) were not searched for.",
    "Backdoors that act on images of one source class only were not searched for.",
    "All-to-all backdoors were not searched for.",
]


@dataclass(frozen=True, kw_only=True, eq=False)
class Suspicion:
    """A candidate that stands out: its score, family-wise p-value, and what confirmation made of it."""

    candidate: Candidate
    z: float
    p_value: float
    null_cost: float
    confirmation: Confirmation | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Decision:
    """The verdict and the triggers behind it, strongest first; `triggers` pairs with `findings`."""

    verdict: Verdict
    findings: list[TriggerFinding] = field(default_factory=list)
    triggers: list[Trigger] = field(default_factory=list)


def decide(
    suspect: Suspect, search: SearchResult, images: Tensor, labels: Tensor, class_names: Sequence[str],
    targets: Sequence[int] | None = None,
) -> Decision:  # fmt: skip
    """The verdict on a search, confirmed on `images` (N, C, H, W), which no search has seen.

    With `targets` only those classes can be found backdoored; the others are their null.
    """
    evidence, suspicions = weigh(search)
    if targets:
        suspicions = [s for s in suspicions if s.candidate.target_class in targets]
    judged = [_confirmed(suspect, s, images, labels) for s in suspicions]
    confirmed = [s for s in judged if s.confirmation is not None and s.confirmation.confirmed]
    findings = [_finding(s) for s in judged]
    triggers = [s.confirmation.trigger for s in judged if s.confirmation is not None]
    verdict = _verdict(search, evidence, judged, confirmed, class_names)
    return Decision(verdict=verdict, findings=findings, triggers=triggers)


def weigh(search: SearchResult) -> tuple[list[ClassEvidence], list[Suspicion]]:
    """Per-class evidence of every family, and the candidates that stand out, most suspicious first."""
    evidence: list[ClassEvidence] = []
    suspicions: list[Suspicion] = []
    by_family: dict[str, list[Candidate]] = {}
    for candidate in search.candidates:
        by_family.setdefault(candidate.family, []).append(candidate)
    tests = len(search.candidates)
    for candidates in by_family.values():
        cost_K = np.array([np.nan if c.cost is None else c.cost for c in candidates])
        for candidate, z in zip(candidates, outlier_scores(cost_K), strict=True):
            p_value = None if math.isnan(z) else family_wise_p(float(z), tests)
            evidence.append(_evidence(candidate, float(z), p_value, search))
            if p_value is not None and p_value <= SIGNIFICANCE:
                null_cost = float(np.nanmedian([c.cost for c in candidates if c is not candidate and c.cost is not None]))
                suspicions.append(Suspicion(candidate=candidate, z=float(z), p_value=p_value, null_cost=null_cost))
    return evidence, sorted(suspicions, key=lambda s: -s.z)


def _confirmed(suspect: Suspect, suspicion: Suspicion, images: Tensor, labels: Tensor) -> Suspicion:
    found = confirm(suspect, suspicion.candidate, suspicion.null_cost, images, labels)
    return Suspicion(candidate=suspicion.candidate, z=suspicion.z, p_value=suspicion.p_value,
                     null_cost=suspicion.null_cost, confirmation=found)  # fmt: skip


def _evidence(candidate: Candidate, z: float, p_value: float | None, search: SearchResult) -> ClassEvidence:
    shared = None
    if search.shared is not None and search.shared.histogram.sum():
        shared = float(search.shared.histogram[candidate.target_class] / search.shared.histogram.sum())
    return ClassEvidence(
        target_class=candidate.target_class, family=candidate.family, cost=candidate.cost,
        attack_success_rate=candidate.flip_share, anomaly_index=None if math.isnan(z) else z, p_value=p_value,
        shared_share=shared,
    )  # fmt: skip


def _finding(suspicion: Suspicion) -> TriggerFinding:
    assert suspicion.confirmation is not None  # every suspicion judged carries one
    found = suspicion.confirmation
    area = float((found.trigger.parameters["mask"]).mean()) if found.trigger.family == "patch" else None
    return TriggerFinding(
        target_class=found.trigger.target_class, family=found.trigger.family, cost=found.cost,
        attack_success_rate=found.rate, confirmed=found.confirmed, anomaly_index=suspicion.z, mask_area=area,
    )  # fmt: skip


def _verdict(
    search: SearchResult, evidence: list[ClassEvidence], judged: list[Suspicion], confirmed: list[Suspicion],
    class_names: Sequence[str],
) -> Verdict:  # fmt: skip
    scores = [e.anomaly_index for e in evidence if e.anomaly_index is not None]
    targets = list(dict.fromkeys(s.candidate.target_class for s in confirmed))
    kind: BackdoorKind | None = None
    if confirmed:
        label, kind = "backdoored", "all_to_one" if len(targets) == 1 else "mixed"
    elif not scores or not search.complete or judged:
        label = "inconclusive"
    else:
        label = "no_evidence"
    return Verdict(
        label=label, score=suspicion_score(max(scores), len(evidence)) if scores else None, kind=kind,  # type: ignore[arg-type]
        target_classes=targets, reasons=_reasons(search, scores, judged, confirmed, class_names), per_class=evidence,
        untested=UNTESTED + [f"The {name} family was not searched: the time ran out." for name in search.skipped],
    )  # fmt: skip


def suspicion_score(z: float, tests: int) -> float:
    """A rank in (0, 1): one half where the family-wise p-value is at the significance level."""
    p = max(family_wise_p(z, tests), 1e-300)
    return 1 / (1 + math.sqrt(p / SIGNIFICANCE))


def _reasons(
    search: SearchResult, scores: list[float], judged: list[Suspicion], confirmed: list[Suspicion],
    class_names: Sequence[str],
) -> list[str]:  # fmt: skip
    if not scores:
        return ["No class gave a trigger that flips enough images, or too few classes were searched to compare them."]
    said = [_sentence(s, class_names) for s in judged]
    if not judged:
        families = sorted({c.family for c in search.candidates})
        said = [f"No class needs a clearly cheaper trigger than the others (families: {', '.join(families)}; "
                f"largest outlier score {max(scores):.1f})."]  # fmt: skip
    elif not confirmed:
        said.append("An outlier that does not carry over to unseen images is not enough to call a backdoor.")
    return said


def _sentence(suspicion: Suspicion, class_names: Sequence[str]) -> str:
    candidate, found = suspicion.candidate, suspicion.confirmation
    assert candidate.cost is not None and found is not None
    target = candidate.target_class
    name = f"class {target}" + (f" ({class_names[target]})" if target < len(class_names) else "")
    share = candidate.cost / suspicion.null_cost
    return (
        f"A{'n additive' if candidate.family == 'additive' else ' ' + candidate.family} trigger toward {name} costs "
        f"{share:.0%} of what the median class needs (outlier score {suspicion.z:.1f}, family-wise p = "
        f"{suspicion.p_value:.2g}) and flips {found.rate.hits} of {found.rate.total} images it was not fitted to."
    )
