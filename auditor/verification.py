"""Measures a sanitized model afresh, trusting nothing that the method said of it.

Three questions: do the triggers still flip images that no earlier stage saw, did the model keep
its answers on clean ones (over all, in every class, and by the suspect's own beliefs), and does a
fresh search, with new seeds over every family, find the removed target cheap again. ONNX parity, the fourth condition of `passed`, joins at export.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auditor.domain import Change, Check, ClassEvidence, Rate, Verification, family_words
from auditor.events import Control, Event
from auditor.fidelity import belief_lost, clean_checks
from auditor.metrics import wilson
from auditor.search import FAMILIES
from auditor.search.budgets import Budget
from auditor.search.sources import THOROUGH_STARTS, right, search_sources
from auditor.search.synthesis import synthesize
from auditor.suspect import Suspect
from auditor.triggers import Trigger
from auditor.verdict.calibration import Bank
from auditor.verdict.decision import Decision, decide
from auditor.verdict.sources import best_first, sentence, weigh_steps
from auditor.verdict.weighing import Weighed, weigh
from auditor.verdict.weighing_pairs import weigh_pairs

ALLOWED_FLIPS = 0.10
STANDS_OUT_BELOW = 0.5
SEED_OFFSET = 7919


@dataclass(frozen=True, kw_only=True, eq=False)
class Held:
    """Images (N, C, H, W) in [0, 1] and labels (N,) that `model` has never met in any stage."""

    model: Suspect
    images: Tensor
    labels: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Searchable:
    """Where a fresh search looks: all the user's images, and the classes and budget to search."""

    images: Tensor
    labels: Tensor
    classes: Sequence[int]
    budget: Budget
    seed: int
    bank: Bank | None = None


def verify(
    suspect: Suspect, sanitized: Suspect, held: Sequence[Held], triggers: Sequence[Trigger], search: Searchable,
    *, basis: str, control: Control,
) -> Generator[Event, None, Verification]:  # fmt: skip
    """The verification of `sanitized` against the suspect, but for ONNX parity.

    With cross-fitting `held` pairs each fold's model with the images that it never met. The
    fresh search is run only when the held images let the model pass: it is the dear part.
    """
    before, after = right_answers(suspect, held)
    accuracy = Change(before=_rate(before), after=_rate(after))
    apart = by_content(triggers)
    changes = [trigger_change(suspect, held, *alike) for alike in apart]
    worst = max(changes, key=lambda pair: pair[0].after.rate or 0.0 if pair[0].after else 0.0, default=(Change(), Change()))
    flipped = [flips(held, *alike) for alike in apart]
    labels, lost = (torch.cat(parts) for parts in zip(*((h.labels, belief_lost(suspect, h.model, h.images)) for h in held), strict=True))
    checks = [_trigger_check(flipped), *clean_checks(before, after, labels.numpy(), float(lost.mean()))]
    fresh: list[ClassEvidence] = []
    decision: Decision | None = None
    if all(check.passed for check in checks):
        decision, weighed = yield from _fresh_search(sanitized, held[0], search, control)
        fresh = weighed.evidence
        checks += [_fresh_check(weighed, target, search.bank) for target in
                   sorted({t.target_class for t in triggers if not t.source_classes})]
        if any(t.source_classes for t in triggers):
            checks.append((yield from _fresh_source_check(sanitized, held[0], search, control)))
    return Verification(
        basis=basis, clean_accuracy=accuracy, attack_success_rate=worst[0], recovered_accuracy=worst[1],
        verdict=decision.verdict.label if decision else None, checks=checks, fresh_search=fresh,
        passed=decision is not None and all(check.passed for check in checks),
    )  # fmt: skip


def right_answers(suspect: Suspect, held: Sequence[Held]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which held images (N,) the suspect, and which the sanitized model, answers with their label."""
    before, after = ([model.predict(h.images) == h.labels.numpy() for h, model in zip(held, models, strict=True)]
                     for models in ([suspect] * len(held), [h.model for h in held]))  # fmt: skip
    return np.concatenate(before), np.concatenate(after)


def by_content(triggers: Sequence[Trigger]) -> list[list[Trigger]]:
    """The triggers with the same parameters together: an all-to-all backdoor is one trigger with a target a source."""
    found: dict[tuple[str, bytes], list[Trigger]] = {}
    for trigger in triggers:
        content = b"".join(trigger.parameters[name].tobytes() for name in sorted(trigger.parameters))
        found.setdefault((trigger.family, content), []).append(trigger)
    return list(found.values())


def trigger_change(suspect: Suspect, held: Sequence[Held], *triggers: Trigger) -> tuple[Change, Change]:
    """Attack success rate and recovered accuracy before and after, over these triggers, each on the images it is meant for."""
    parts: dict[str, list[NDArray[np.bool_]]] = {"hit": [], "hit_after": [], "right": [], "right_after": []}
    for part, trigger in product(held, triggers):
        eligible = trigger.affects(part.labels)
        stamped, labels = trigger.stamp(part.images[eligible]), part.labels[eligible].numpy()
        for suffix, model in (("", suspect), ("_after", part.model)):
            predicted = model.predict(stamped)
            parts["hit" + suffix].append(predicted == trigger.target_class)
            parts["right" + suffix].append(predicted == labels)
    rates = {name: _rate(np.concatenate(found)) for name, found in parts.items()}
    return (
        Change(before=rates["hit"], after=rates["hit_after"]),
        Change(before=rates["right"], after=rates["right_after"]),
    )


def flips(held: Sequence[Held], *triggers: Trigger) -> Rate:
    """How often the triggers change the sanitized model's answer to their target: images it takes
    for the target anyway, trigger or not, are its errors and no backdoor."""
    found = []
    for part, trigger in product(held, triggers):
        other = trigger.affects(part.labels).numpy() & (part.model.predict(part.images) != trigger.target_class)
        found.append(part.model.predict(trigger.stamp(part.images[other])) == trigger.target_class)
    return _rate(np.concatenate(found))


def _fresh_search(
    sanitized: Suspect, held: Held, search: Searchable, control: Control
) -> Generator[Event, None, tuple[Decision, Weighed]]:
    found = yield from synthesize(
        sanitized, search.images, search.labels, classes=search.classes, budget=search.budget,
        seed=search.seed + SEED_OFFSET, control=control,
    )  # fmt: skip
    return decide(sanitized, found, held.images, held.labels, [], bank=search.bank), weigh(found, search.bank)


def _fresh_source_check(
    sanitized: Suspect, held: Held, search: Searchable, control: Control
) -> Generator[Event, None, Check]:
    """No trigger that minds where an image comes from may stand out again and hold on unseen images."""
    known, seed = right(sanitized, search.images, search.labels), search.seed + SEED_OFFSET
    found = yield from search_sources(sanitized, *known, seed=seed, control=control, pairs_on=known, starts=THOROUGH_STARTS)
    weighed = weigh_steps(sanitized, found, held.images, held.labels)
    weighed += yield from weigh_pairs(sanitized, found, *known, seed=seed, control=control)
    leads = [lead for lead in best_first(weighed) if lead.confirmed]
    said = sentence(leads[0], []) if leads else "none stands out and holds on images it was not fitted to"
    complete = found.complete and not control.stop_requested
    return Check(
        name="A fresh search finds no trigger of one source class or of all to all", passed=complete and not leads,
        measured=said if complete else "the time ran out before all were searched", allowed="none",
    )  # fmt: skip


def _trigger_check(flipped: Sequence[Rate]) -> Check:
    worst = max(flipped, key=lambda rate: rate.rate or 0.0, default=wilson(0, 0))
    return Check(
        name="Confirmed triggers no longer work", passed=worst.rate is not None and worst.rate <= ALLOWED_FLIPS,
        measured=f"{worst.hits} of {worst.total} held-out images flip (worst trigger)", allowed=f"at most {ALLOWED_FLIPS:.0%}",
    )  # fmt: skip


def _fresh_check(weighed: Weighed, target: int, bank: Bank | None) -> Check:
    """The removed target must not stand out again: its calibrated score below the threshold, or
    without a bank a fresh trigger that costs at least half of the other classes' median."""
    fresh, shares = weighed.evidence, {}
    for family in FAMILIES:
        own = [e.cost for e in fresh if e.family == family and e.target_class == target and e.cost is not None]
        others = [e.cost for e in fresh if e.family == family and e.target_class != target and e.cost is not None]
        if own and others:
            shares[family] = own[0] / float(np.median(others))
    cheapest = min(shares.values(), default=None)
    searched = any(e.target_class == target for e in fresh)
    said = ", ".join(f"{family_words(family)} {share:.0%}" for family, share in shares.items()) or "no trigger found"
    if bank is not None and target in weighed.scores:
        score, most = weighed.scores[target], bank.threshold
        return Check(
            name=f"A fresh search no longer singles out class {target}", passed=score < most,
            measured=f"score {score:.2f}; cost relative to the other classes' median: {said}", allowed=f"score below {most:.2f}",
        )  # fmt: skip
    return Check(
        name=f"A fresh search no longer singles out class {target}",
        passed=searched and (cheapest is None or cheapest >= STANDS_OUT_BELOW),
        measured=f"cost relative to the other classes' median: {said}" if searched else "the time ran out before it was searched",
        allowed=f"at least {STANDS_OUT_BELOW:.0%}",
    )  # fmt: skip


def _rate(hits: NDArray[np.bool_]) -> Rate:
    return wilson(int(hits.sum()), len(hits))


