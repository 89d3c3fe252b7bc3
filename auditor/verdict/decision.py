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

SIGNIFICANCE = 0.02
SECOND_TARGET_FACTOR = 2.0
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

    @property
    def relative_cost(self) -> float:
        """Its cost as a share of what the median of the other classes needs."""
        return (self.candidate.cost or math.inf) / self.null_cost


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
    together_K = z_FK.sum(0) / math.sqrt(max(1, len(families)))
    tests = len(classes) * (len(families) + (len(families) > 1))
    evidence, suspicions = [], []
    for k, target in enumerate(classes):
        for f, family in enumerate(families):
            evidence.append(_evidence(by_class[target][family], float(z_FK[f, k]), tests, search))
        strongest = int(np.argmax(np.nan_to_num(z_FK[:, k], nan=-np.inf)))
        z = float(max(z_FK[strongest, k], together_K[k]))
        candidate = by_class[target][families[strongest]]
        if candidate.cost is None or math.isnan(z) or family_wise_p(z, tests) > SIGNIFICANCE:
            continue
        null_cost = float(np.nanmedian(np.delete(cost_FK[strongest], k)))
        suspicions.append(Suspicion(candidate=candidate, z=z, p_value=family_wise_p(z, tests), null_cost=null_cost))
    return evidence, _as_cheap_as_the_first(sorted(suspicions, key=lambda s: -s.z))


def _cost(candidate: Candidate) -> float:
    return math.nan if candidate.cost is None else candidate.cost


def _as_cheap_as_the_first(suspicions: list[Suspicion]) -> list[Suspicion]:
    """Without those that are far dearer than the most suspicious: where one class has a real
    shortcut, a class that is merely close to others must not be called a second target."""
    if not suspicions:
        return []
    most = SECOND_TARGET_FACTOR * suspicions[0].relative_cost
    return [s for s in suspicions if s is suspicions[0] or s.relative_cost <= most]


def _confirmed(suspect: Suspect, suspicion: Suspicion, images: Tensor, labels: Tensor) -> Suspicion:
    found = confirm(suspect, suspicion.candidate, suspicion.null_cost, images, labels)
    return Suspicion(candidate=suspicion.candidate, z=suspicion.z, p_value=suspicion.p_value,
                     null_cost=suspicion.null_cost, confirmation=found)  # fmt: skip


def _evidence(candidate: Candidate, z: float, tests: int, search: SearchResult) -> ClassEvidence:
    shared = None
    if search.shared is not None and search.shared.histogram.sum():
        shared = float(search.shared.histogram[candidate.target_class] / search.shared.histogram.sum())
    return ClassEvidence(
        target_class=candidate.target_class, family=candidate.family, cost=candidate.cost,
        attack_success_rate=candidate.flip_share, anomaly_index=None if math.isnan(z) else z,
        p_value=None if math.isnan(z) else family_wise_p(z, tests), shared_share=shared,
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
    scores = [e.anomaly_index for e in evidence if e.anomaly_index is not None] + [s.z for s in judged]
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
    assert found is not None
    target = candidate.target_class
    name = f"class {target}" + (f" ({class_names[target]})" if target < len(class_names) else "")
    return (
        f"A{'n additive' if candidate.family == 'additive' else ' ' + candidate.family} trigger toward {name} costs "
        f"{suspicion.relative_cost:.0%} of what the median class needs (outlier score {suspicion.z:.1f}, family-wise p = "
        f"{suspicion.p_value:.2g}) and flips {found.rate.hits} of {found.rate.total} images it was not fitted to."
    )
