"""Triggers in the words of a report: which are one, which to name first, and where they lead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from auditor.domain import AuditResult, Rate, TriggerFinding, Verdict
from auditor.metrics import wilson
from auditor.report.text import ClassNames


def strongest(result: AuditResult) -> TriggerFinding | None:
    """The trigger to name first: confirmed before not, then by its success on unseen images."""
    ranked = sorted(
        result.triggers, key=lambda t: (t.confirmed, t.attack_success_rate.rate or 0.0, -t.cost), reverse=True
    )
    return ranked[0] if ranked else None


def as_one(triggers: Sequence[TriggerFinding]) -> list[list[TriggerFinding]]:
    """An all-to-all backdoor is found as one trigger a source class, all of the same family and cost, and one from a class to
    another as several triggers from and to the same: those together."""
    found: dict[tuple[Any, ...], list[TriggerFinding]] = {}
    times = Counter(_pair(trigger) for trigger in triggers)
    for place, trigger in enumerate(triggers):
        same = _pair(trigger) if times[_pair(trigger)] > 1 else trigger.cost
        key = (trigger.family, same, trigger.confirmed) if trigger.source_classes else (place,)
        found.setdefault(key, []).append(trigger)
    return list(found.values())


def alike_with(trigger: TriggerFinding, triggers: Sequence[TriggerFinding]) -> list[TriggerFinding]:
    """Those of the triggers that are one with this one, which is among them."""
    return next(alike for alike in as_one(triggers) if trigger in alike)


def _pair(trigger: TriggerFinding) -> tuple[Any, ...]:
    return (trigger.family, *trigger.source_classes, trigger.target_class)


def moves_classes(alike: Sequence[TriggerFinding]) -> bool:
    """Whether triggers that are one lead classes to others, rather than all from and to the same."""
    return len({_pair(trigger) for trigger in alike}) > 1


def rate_together(triggers: Sequence[TriggerFinding]) -> Rate:
    """The success of triggers that are one on the images of all of them."""
    return wilson(*(sum(getattr(one.attack_success_rate, count) for one in triggers) for count in ("hits", "total")))


def leads(verdict: Verdict, names: ClassNames) -> str:
    """Where a backdoor leads, to follow what names it; empty where that is not known."""
    if verdict.kind == "all_to_all":
        return " that sends every class to another"
    return f" toward {names.listed(verdict.target_classes)}" if verdict.target_classes else ""


def answers(alike: Sequence[TriggerFinding], names: ClassNames) -> str:
    """What a trigger makes the model say, and of which images."""
    first = alike[0]
    if moves_classes(alike):
        source, target = names.listed(first.source_classes), names(first.target_class)
        return f"and have the model answer another class: for {source} {target}, and so for every class"
    whose = f"of {names.listed(first.source_classes)} " if first.source_classes else ""
    return f"{whose}and have the model answer {names(first.target_class)}, whatever the image shows"
