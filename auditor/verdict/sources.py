"""Weighs triggers that mind where an image comes from, and adds what is confirmed to a verdict.

Pairs are weighed by `pairs.py`, steps by how much cheaper one is than the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from auditor.domain import BackdoorKind, Rate, TriggerFinding, Verdict, class_words, family_words
from auditor.metrics import wilson
from auditor.search import FAMILIES
from auditor.search.sources import Shift, SourceSearch
from auditor.suspect import Suspect
from auditor.triggers import Trigger
from auditor.verdict.confirmation import CONFIRMED_RATE, strengthened, trigger_cost
from auditor.verdict.decision import UNTESTED, Decision
from auditor.verdict.pairs import pair_standings

STANDS_OUT = 5.0  # what honest models reach, and backdoored ones: benchmarks/RESULTS.md, "sources"
SHIFT_RATIO = 0.1  # of the next step's cost
LEAST_RATIO, LEAST_COST = 1e-3, 1e-12
STRONGEST, NEARER = 6.0, 0.75
FEWEST_FLIPS = 2
PERMUTES = 0.5  # of the classes
NOT_COVERED = "No bank stands behind such triggers yet, so the score ranks suspicion and no more."


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceLead:
    """What stands out: a kind, its triggers (one a source class), how far (1 is what is asked), and how
    the triggers did on images that the search had not seen."""

    kind: BackdoorKind
    triggers: list[Trigger]
    standing: float
    rates: list[Rate]

    @property
    def rate(self) -> Rate:
        return wilson(sum(r.hits for r in self.rates), sum(r.total for r in self.rates))

    @property
    def confirmed(self) -> bool:
        """Of one class there are few unseen images: most must flip, and not too few for CONFIRMED_RATE."""
        rate = self.rate
        return rate.hits >= FEWEST_FLIPS and rate.hits > rate.total / 2 and rate.high >= CONFIRMED_RATE


def standing_shift(shifts: Sequence[Shift]) -> tuple[Shift, float] | None:
    """The step that works at less than SHIFT_RATIO of what the next one needs, and the ratio of the costs.

    A step that does not work needs at least what its pricing ended at.
    """
    best: tuple[Shift, float] | None = None
    for family in {shift.family for shift in shifts}:
        own = sorted((s for s in shifts if s.family == family), key=lambda s: (not s.works, s.cost))
        if len(own) < 2 or not own[0].works:
            continue
        ratio = max(own[0].cost, LEAST_COST) / max(min(s.cost for s in own[1:]), LEAST_COST)
        if ratio <= SHIFT_RATIO and (best is None or ratio < best[1]):
            best = own[0], max(ratio, LEAST_RATIO)
    return best


def weigh_sources(
    suspect: Suspect, found: SourceSearch, images: Tensor, labels: Tensor, targets: Sequence[int] | None = None
) -> list[SourceLead]:
    """What stands out in a search, measured on `images` (N, C, H, W) that it has not seen; best first.

    With `targets` only pairs toward those classes can.
    """
    leads, said = [], torch.from_numpy(suspect.predict(images))
    if (shift := standing_shift(found.shifts)) is not None and not targets:
        best, ratio = shift
        triggers = [_stronger(t, 1 / ratio) for t in best.triggers(suspect.num_classes)]
        right = said == labels  # another image's class is not moved to where its label would be
        leads.append(_lead("all_to_all", triggers, SHIFT_RATIO / ratio, suspect, images[right], labels[right]))
    standing_KK, _ = pair_standings(found.cost)
    for source, target in np.argwhere(np.nan_to_num(standing_KK, nan=-np.inf) >= STANDS_OUT).tolist():
        if (source, target) in found.pairs and (not targets or target in targets):
            trigger = _stronger(found.pairs[source, target], float(np.nanmedian(found.cost)) / max(float(found.cost[source, target]), LEAST_COST))
            standing, other = float(standing_KK[source, target]) / STANDS_OUT, said != target
            leads.append(_lead("source_specific", [trigger], standing, suspect, images[other], labels[other]))
    return sorted(leads, key=lambda lead: (not lead.confirmed, lead.kind, -lead.standing))


def _stronger(trigger: Trigger, room: float) -> Trigger:
    """The trigger nearer to what others cost (`room` times as much): fitted to a handful of images of one class, it
    barely works as found (benchmarks/RESULTS.md, "sources")."""
    return strengthened(FAMILIES[trigger.family], trigger, min(STRONGEST, max(1.0, room) ** NEARER))


def _lead(kind: BackdoorKind, triggers: list[Trigger], standing: float, suspect: Suspect, images: Tensor, labels: Tensor) -> SourceLead:
    rates = []
    for trigger in triggers:
        affected = trigger.affects(labels)
        flipped = torch.from_numpy(suspect.predict(trigger.stamp(images[affected]))) == trigger.target_class
        rates.append(wilson(int(flipped.sum()), len(flipped)))
    return SourceLead(kind=kind, triggers=triggers, standing=standing, rates=rates)


def with_sources(decision: Decision, found: SourceSearch, leads: Sequence[SourceLead], class_names: Sequence[str]) -> Decision:
    """The decision with what the source search adds: a confirmed lead makes it a backdoor, another one a suspicion."""
    verdict = decision.verdict
    untested = [line for line in verdict.untested if line not in UNTESTED]
    untested.append("All-to-all backdoors that do not move every class by the same step were not searched for.")
    if not found.complete:
        untested.append("Backdoors of one source class were not searched for to the end: the time ran out.")
    verdict = replace(verdict, untested=untested)
    confirmed = [lead for lead in leads if lead.confirmed]
    if not confirmed:
        if leads:
            said = [*verdict.reasons, *(sentence(lead, class_names) for lead in leads[:1])]
            verdict = replace(verdict, label="inconclusive", reasons=said)
        elif not found.complete and verdict.label == "no_evidence":
            verdict = replace(verdict, label="inconclusive")
        return replace(decision, verdict=verdict)
    kept = [lead for lead in confirmed if lead.kind == confirmed[0].kind]
    triggers = [trigger for lead in kept for trigger in lead.triggers]
    pairs = {source: trigger.target_class for trigger in triggers for source in trigger.source_classes}
    kind: BackdoorKind = "all_to_all" if is_near_permutation(pairs, len(found.cost)) else "source_specific"
    verdict = replace(
        verdict, label="backdoored", kind=kind, score=_score(verdict, kept[0].standing), calibration=None, target_classes=sorted(set(pairs.values())),
        source_classes=sorted(pairs) if kind == "source_specific" else [],
        mapping={str(source): target for source, target in sorted(pairs.items())},
        reasons=[*(sentence(lead, class_names) for lead in kept[:3]), *verdict.reasons, NOT_COVERED],
    )  # fmt: skip
    findings = [_finding(lead, trigger, rate) for lead in kept for trigger, rate in zip(lead.triggers, lead.rates, strict=True)]
    return Decision(verdict=verdict, findings=findings, triggers=triggers)


def is_near_permutation(pairs: Mapping[int, int], classes: int) -> bool:
    """Whether most classes have a target of their own, as in an all-to-all backdoor."""
    return len(set(pairs.values())) > PERMUTES * classes


def _score(verdict: Verdict, standing: float) -> float:
    """At least one half, the more the further the trigger stands out beyond what is asked; uncalibrated."""
    return max(verdict.score or 0.0, standing / (1 + standing))


def _finding(lead: SourceLead, trigger: Trigger, rate: Rate) -> TriggerFinding:
    area = float(trigger.parameters["mask"].mean()) if trigger.family == "patch" else None
    return TriggerFinding(
        target_class=trigger.target_class, family=trigger.family, attack_success_rate=rate,
        cost=trigger_cost(FAMILIES[trigger.family], trigger),
        confirmed=lead.confirmed, source_classes=trigger.source_classes, mask_area=area,
        anomaly_index=lead.standing * STANDS_OUT if lead.kind == "source_specific" else None,
    )  # fmt: skip


def sentence(lead: SourceLead, class_names: Sequence[str]) -> str:
    """One lead in words."""
    trigger, rate = lead.triggers[0], lead.rate
    flips = f"flips {rate.hits} of {rate.total} images it was not fitted to"
    kind = family_words(trigger.family)
    if lead.kind == "all_to_all":
        step = (trigger.target_class - trigger.source_classes[0]) % len(lead.triggers)
        return (f"One {kind} trigger moves every class to that {step} further, at {SHIFT_RATIO / lead.standing:.1%} of what the "
                f"next such move costs, and {flips}.")  # fmt: skip
    source, target = (class_words(k, class_names) for k in (trigger.source_classes[0], trigger.target_class))
    return (f"From {source} alone a {kind} trigger leads to {target} more cheaply than between other classes, and than "
            f"back (outlier score {lead.standing * STANDS_OUT:.1f}), and {flips}.")  # fmt: skip
