"""`auto`: the portfolio over unlearning methods, judged by verification.

Cheap methods go first. A method that fails on the work images is not worth verifying; one whose
sanitized model a fresh search can still single out gets new triggers, synthesized against that
model, and another round. What verification accepts is kept; otherwise nothing is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from auditor.domain import Attempt, Verification
from auditor.events import AttemptFinished, Control, Event
from auditor.metrics import wilson
from auditor.portfolio import plan
from auditor.search import FAMILIES
from auditor.search.budgets import Budget
from auditor.search.synthesis import Candidate, synthesize
from auditor.suspect import Suspect
from auditor.triggers import Trigger
from auditor.unlearn.baselines import BASELINES
from auditor.unlearn.method import Method, Monitor, Task, watched
from auditor.verification import ALLOWED_FLIPS, Held, Searchable, verify

TWINS = Budget(restarts=1, first_steps=0, steps=50, refine_steps=0, batch_size=16)
TWIN_RESTARTS = 4
HARDENED = ("refit", "refit_ascent")  # cheap enough to be run again before the dear verification
HARDENINGS = 2
# Of the other classes' median cost: dearer triggers are as a rule the class's own, and unlearning
# them costs accuracy for nothing.
CHEAP = 0.75
ORIGINAL_WEIGHT = 3
SEED_OFFSET = 101
WORK_LOSS = 0.15  # far beyond it verification would refuse anyway, and takes longer to say so


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One model to sanitize. `images` and `labels` are work images; `folds` pairs the index
    arrays (work, verify) into `every_image`, one pair when images are held out for good.
    `null_costs` are what triggers toward other classes of the suspect cost, by family; `near` names
    families beside the triggers' own in which a target came cheap too. `twins` keeps the triggers synthesized for a set of images, so that later rounds use them again."""

    suspect: Suspect
    every_image: Tensor
    every_label: Tensor
    folds: Sequence[tuple[Tensor, Tensor]]
    basis: str
    triggers: Sequence[Trigger]
    monitor: Monitor
    search: Searchable
    seed: int
    control: Control
    null_costs: Mapping[str, float] = field(default_factory=dict)
    near: Sequence[str] = ()
    twins: dict[bytes, list[Trigger]] = field(default_factory=dict)

    @property
    def work(self) -> Tensor:
        """Indices of the images a method may use for the model that is handed out."""
        return self.folds[0][0] if self.basis == "held_out" else torch.arange(len(self.every_label))


@dataclass(frozen=True, kw_only=True, eq=False)
class Remedy:
    """What came of it: the best model, what made it, its verification and whether it was accepted."""

    model: Suspect | None
    method: str
    made_by: Method | None = None
    verification: Verification | None = None
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def accepted(self) -> bool:
        return self.verification is not None and self.verification.passed


def find_remedy(
    case: Case, method: str = "auto", settings: Mapping[str, Any] = MappingProxyType({})
) -> Generator[Event, None, Remedy]:
    """Try the method, or with `auto` each in turn, until verification accepts one.

    `settings` are hyper-parameters of the method. Raises UsageError when they do not fit it.
    """
    left = plan(method, settings, case.triggers, len(case.work))
    attempts: list[Attempt] = []
    best = Remedy(model=None, method=method, attempts=attempts)
    extra: list[Trigger] = []
    while left:
        chosen = left.pop(0)
        tried, attempt = yield from _attempt(case, chosen, extra, is_last=method != "auto")
        attempts.append(attempt)
        yield AttemptFinished(method=chosen.name, accepted=attempt.accepted, reason=attempt.reason)
        if best.verification is None or _is_better(tried, best):
            best = replace(tried, attempts=attempts)
        if best.accepted or case.control.stop_requested or not left:
            break
        fresh: list[Trigger] = []
        if tried.model is not None and tried.verification is not None:
            fresh = yield from _cheap_twins(tried.model, case, case.work, case.seed + SEED_OFFSET + len(extra))
        extra += fresh
        left = left if fresh else [other for other in left if other != chosen]  # again it would do the same
    return best


def _attempt(
    case: Case, method: Method, extra: Sequence[Trigger], *, is_last: bool
) -> Generator[Event, None, tuple[Remedy, Attempt]]:
    started = time.monotonic()
    model = yield from unlearned(case, method, case.work, extra)
    reading, before = case.monitor(model), case.monitor(case.suspect)
    failed = reading.attack_success_rate > ALLOWED_FLIPS or before.clean_accuracy - reading.clean_accuracy > WORK_LOSS
    verification: Verification | None = None
    if not failed or is_last:
        held = yield from _held(case, method, model, extra)
        verification = yield from verify(
            case.suspect, model, held, case.triggers, case.search, basis=case.basis, control=case.control
        )
    count = len(case.work)
    attempt = Attempt(
        method=method.name, parameters=parameters(method), seconds=time.monotonic() - started,
        accepted=verification is not None and verification.passed, reason=_reason(verification, failed),
        clean_accuracy=wilson(round(reading.clean_accuracy * count), count),
        proxy_attack_success_rate=wilson(round(reading.attack_success_rate * count), count),
        parameters_changed=_changed(case.suspect, model),
    )  # fmt: skip
    return Remedy(model=model, method=method.name, made_by=method, verification=verification), attempt


def unlearned(case: Case, method: Method, indices: Tensor, extra: Sequence[Trigger]) -> Generator[Event, None, Suspect]:
    """The method's model from these images alone: triggers are synthesized on them too."""
    triggers = [] if method.name in BASELINES else (yield from every_trigger(case, indices, extra))
    task = Task(
        suspect=case.suspect, images=case.every_image[indices], labels=case.every_label[indices], triggers=triggers,
        monitor=case.monitor, seed=case.seed, control=case.control,
    )  # fmt: skip
    model = yield from watched(method, task)
    for number in range(1, 1 + HARDENINGS if method.name in HARDENED else 1):
        fresh = yield from _cheap_twins(model, case, indices, case.seed + number)
        if not fresh or case.control.stop_requested:
            break
        task = replace(task, triggers=[*task.triggers, *fresh])
        model = yield from watched(method, task)
    return model


def every_trigger(case: Case, indices: Tensor, extra: Sequence[Trigger]) -> Generator[Event, None, list[Trigger]]:
    """The confirmed triggers, others like them synthesized on these images, and what later rounds found.

    Triggers of families that are near count less: where the search has no name for a trigger, each of its
    relatives covers another side of it (benchmarks/RESULTS.md, "remove").
    """
    key = indices.numpy().tobytes()
    if key not in case.twins:
        case.twins[key] = yield from _twins(case.suspect, case, indices, case.seed + SEED_OFFSET)
    kinds = {trigger.family for trigger in case.triggers}
    alike, related = ([t for t in case.twins[key] if (t.family in kinds) is own] for own in (True, False))
    # Later triggers are often natural ones: they must not crowd out those of the backdoor itself.
    return [*case.triggers, *alike] * ORIGINAL_WEIGHT + [*related, *extra]


def _held(case: Case, method: Method, model: Suspect, extra: Sequence[Trigger]) -> Generator[Event, None, list[Held]]:
    """The model with images it never met; when cross-fitting, a model refitted for each fold."""
    held = []
    for work, verify_on in case.folds:
        fitted = model if case.basis == "held_out" else (yield from unlearned(case, method, work, extra))
        held.append(Held(model=fitted, images=case.every_image[verify_on], labels=case.every_label[verify_on]))
    return held


def _cheap_twins(model: Suspect, case: Case, indices: Tensor, seed: int) -> Generator[Event, None, list[Trigger]]:
    """Triggers that still reach a sanitized model more cheaply than honest classes are reached."""
    found = yield from _search_twins(model, case, indices, seed)
    return [c.trigger for c in found if c.cost is not None and c.cost < CHEAP * case.null_costs.get(c.family, math.inf)]


def _twins(model: Suspect, case: Case, indices: Tensor, seed: int) -> Generator[Event, None, list[Trigger]]:
    """Further triggers of these kinds toward the same targets, from other seeds: an inexact one needs company."""
    found = yield from _search_twins(model, case, indices, seed)
    return [c.trigger for c in found if c.cost is not None]


def _search_twins(model: Suspect, case: Case, indices: Tensor, seed: int) -> Generator[Event, None, list[Candidate]]:
    targets = sorted({trigger.target_class for trigger in case.triggers if not trigger.source_classes})
    kinds = {trigger.family for trigger in case.triggers} | set(case.near)
    if not targets:  # what minds the source is not found by a search over all images
        return []
    budget = replace(TWINS, families=tuple(name for name in FAMILIES if name in kinds))
    found = yield from synthesize(
        model, case.every_image[indices], case.every_label[indices], classes=targets * TWIN_RESTARTS,
        budget=budget, seed=seed, control=case.control,
    )  # fmt: skip
    return found.candidates


def _is_better(tried: Remedy, best: Remedy) -> bool:
    if tried.verification is None:
        return False
    if best.verification is None:
        return True
    passed = [sum(check.passed for check in r.verification.checks) for r in (tried, best) if r.verification]
    return tried.verification.passed or passed[0] > passed[1]


def _reason(verification: Verification | None, failed: bool) -> str:
    if verification is None:
        return "The triggers still work, or accuracy is lost, on the work images; not worth verifying."
    broken = [f"{check.name}: {check.measured} (allowed: {check.allowed})" for check in verification.checks if not check.passed]
    if broken:
        return "Not accepted. " + "; ".join(broken) + "."
    return "Accepted by verification." + (" It looked worse on the work images." if failed else "")


def parameters(method: Method) -> dict[str, Any]:
    """A method's hyper-parameters by name."""
    return {k: v for k, v in asdict(method).items() if k not in ("name", "is_reconstruction")}  # type: ignore[call-overload]


def _changed(suspect: Suspect, model: Suspect) -> int:
    after = dict(model.module.named_parameters())
    return sum(int((p.detach() != after[name].detach()).sum()) for name, p in suspect.module.named_parameters())
