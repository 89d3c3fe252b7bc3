"""Weighs triggers that mind where an image comes from, and adds what is confirmed to a verdict.

Pairs are weighed in `weighing_pairs.py`, steps here, by how much cheaper one is than the others.
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
from auditor.search.all_to_all import Shift
from auditor.search.sources import SourceSearch, right
from auditor.suspect import Suspect
from auditor.triggers import Trigger
from auditor.verdict.confirmation import CONFIRMED_RATE, strengthened, trigger_cost
from auditor.verdict.decision import ALL_TO_ALL_UNTESTED, SOURCE_UNTESTED, Decision

SHIFT_RATIO = 0.1  # of the other steps' median cost
FEWEST_STEPS = 2
LEAST_RATIO, LEAST_COST = 1e-3, 1e-12
STRONGEST, NEARER = 6.0, 0.75  # the latter of the way, in log cost, to what others cost
FEWEST_FLIPS = 2
PERMUTES = 0.5  # of the classes
NOT_COVERED = "No bank stands behind such triggers yet, so the score ranks suspicion and no more."


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceLead:
    """What stands out: a kind, its triggers (one a source class, or of one pair several), how far (1 is what is asked), and how
    the triggers did on images that the search had not seen, or where `cross_fitted` others searched without them;
    `cheaper` is how many times cheaper they are than they should be."""

    kind: BackdoorKind
    triggers: list[Trigger]
    standing: float
    rates: list[Rate]
    cross_fitted: bool = False
    cheaper: float = 1.0

    @property
    def rate(self) -> Rate:
        return wilson(sum(r.hits for r in self.rates), sum(r.total for r in self.rates))

    @property
    def refuted(self) -> bool:
        """Whether too few flip for CONFIRMED_RATE, however few there are."""
        return self.rate.high < CONFIRMED_RATE

    @property
    def confirmed(self) -> bool:
        """Of one class there are few unseen images: most must flip, and not too few for CONFIRMED_RATE."""
        rate = self.rate
        return rate.hits >= FEWEST_FLIPS and rate.hits > rate.total / 2 and not self.refuted


def standing_shift(shifts: Sequence[Shift]) -> tuple[Shift, float] | None:
    """The step that works at no more than SHIFT_RATIO of the median cost of the others, and the ratio of the costs."""
    found = cheapest_step(shifts)
    return found if found and found[1] <= SHIFT_RATIO else None


def cheapest_step(shifts: Sequence[Shift]) -> tuple[Shift, float] | None:
    """The cheapest step that works, and its cost beside the median of the others; None where none works or there are too few.

    A step that does not work needs at least what its pricing ended at.
    """
    working = [shift for shift in shifts if shift.works]
    if not working or len(shifts) < FEWEST_STEPS:
        return None
    best = min(working, key=lambda shift: shift.cost)
    others = float(np.median([shift.cost for shift in shifts if shift is not best]))
    return best, max(max(best.cost, LEAST_COST) / max(others, LEAST_COST), LEAST_RATIO)


def weigh_steps(suspect: Suspect, found: SourceSearch, images: Tensor, labels: Tensor) -> list[SourceLead]:
    """The step of an all-to-all backdoor that stands out, if one does, measured on `images` (N, C, H, W) that the search has not seen."""
    if (shift := standing_shift(found.shifts)) is None:
        return []
    best, ratio = shift
    triggers = [_stronger(t, 1 / ratio) for t in best.triggers(suspect.num_classes)]
    known, labels = right(suspect, images, labels)  # another image's class is not moved to where its label would be
    return [_lead("all_to_all", triggers, SHIFT_RATIO / ratio, suspect, known, labels)]


def best_first(leads: Sequence[SourceLead]) -> list[SourceLead]:
    """The confirmed ones first, those of a kind together, by how far they stand out."""
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
    searched = [line for line, done in ((SOURCE_UNTESTED, found.with_pairs), (ALL_TO_ALL_UNTESTED, found.with_steps)) if done]
    untested = [line for line in verdict.untested if line not in searched]
    if found.with_steps:
        untested.append("All-to-all backdoors that do not move every class by the same step were not searched for.")
    if not found.complete:
        untested.append("Backdoors that mind where an image comes from were not searched for to the end: the time ran out.")
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
    pairs = {source: trigger.target_class for trigger in reversed(triggers) for source in trigger.source_classes}  # the furthest of a source
    kind: BackdoorKind = "all_to_all" if is_near_permutation(pairs, len(found.cost)) else "source_specific"
    verdict = replace(
        verdict, label="backdoored", kind=kind, score=_score(verdict, kept[0].standing), calibration=None,
        target_classes=sorted({trigger.target_class for trigger in triggers}),
        source_classes=sorted(pairs) if kind == "source_specific" else [],
        mapping={str(source): target for source, target in sorted(pairs.items())},
        reasons=[*(sentence(lead, class_names) for lead in kept[:3]), NOT_COVERED, *_beside(verdict)],
    )  # fmt: skip
    findings = [_finding(lead, trigger, rate) for lead in kept for trigger, rate in zip(lead.triggers, lead.rates, strict=True)]
    return Decision(verdict=verdict, findings=findings, triggers=triggers)


def _beside(verdict: Verdict) -> list[str]:
    """What the search for universal triggers said, without what its score meant: that score is no longer the verdict's."""
    said = verdict.reasons[:-1] if verdict.calibration else verdict.reasons
    return [f"Of triggers that do the same to every class: {line[:1].lower()}{line[1:]}" for line in said[:1]] + said[1:]


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
    )  # fmt: skip


def sentence(lead: SourceLead, class_names: Sequence[str]) -> str:
    """One lead in words."""
    trigger, rate = lead.triggers[0], lead.rate
    flips = (f"of {rate.total} images of that class {rate.hits} flip by a trigger searched without them" if lead.cross_fitted
             else f"flips {rate.hits} of {rate.total} images it was not fitted to")  # fmt: skip
    kind = family_words(trigger.family)
    if lead.kind == "all_to_all":
        step = (trigger.target_class - trigger.source_classes[0]) % len(lead.triggers)
        return (f"One {kind} trigger moves every class to that {step} further, at {SHIFT_RATIO / lead.standing:.1%} of what "
                f"other such moves cost, and {flips}.")  # fmt: skip
    source, target = (class_words(k, class_names) for k in (trigger.source_classes[0], trigger.target_class))
    return (f"From {source} alone a {kind} trigger leads to {target} at {1 / lead.cheaper:.1%} of what it should cost, by what such "
            f"triggers cost between other classes, and {flips}.")  # fmt: skip
