"""Can the trigger be unlearned at less than what a class's own features cost?

A backdoor was added to a network that did without it, so that unlearning it leaves clean answers nearly alone. A
trigger toward an honest class that is naturally close to others is made of what the class is told by: unlearning it
costs accuracy. Ours, in the spirit of the removability argument for trojans; on four calibration models the target came
off more cheaply than each of the three cheapest other classes, SIG's too, whose trigger was no outlier
(benchmarks/RESULTS.md, "detect").
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from auditor.domain import Verdict
from auditor.events import Control, Event, Notice, drain
from auditor.fidelity import belief_lost
from auditor.search.budgets import Budget
from auditor.search.synthesis import Candidate, synthesize
from auditor.suspect import Suspect
from auditor.unlearn.method import Reading, Task
from auditor.unlearn.refit import Refit

COMPARED = 3
BESIDE = 3  # further triggers toward a class: one alone is inexact
TWINS = Budget(restarts=1, first_steps=0, steps=50, refine_steps=0)
SEED_OFFSET = 211
NEXT_TO_NOTHING = 0.01


@dataclass(frozen=True, kw_only=True)
class Removability:
    """What unlearning a class's triggers costs, in [0, 1] of accuracy by the suspect's own beliefs: the target's, and
    that of other classes by class."""

    target_class: int
    cost: float
    others: dict[int, float]

    @property
    def is_cheap(self) -> bool:
        """Whether the target comes off for next to nothing, or more cheaply than every other class."""
        return self.cost <= NEXT_TO_NOTHING or self.cost < min(self.others.values())


def removability(
    suspect: Suspect, candidates: Sequence[Candidate], target: int, family: str, images: Tensor, labels: Tensor, held: Tensor,
    *, seed: int, control: Control,
) -> Generator[Event, None, Removability | None]:  # fmt: skip
    """Unlearn the target's triggers of a family, and those of the COMPARED other classes with the cheapest ones, each from
    the suspect; `images` (N, C, H, W) and `labels` (N,) serve that, `held` (M, C, H, W) measure it.

    None where the family found no trigger toward the target and two others, or the time is up.
    """
    found = {c.target_class: c for c in candidates if c.family == family and c.cost is not None}
    others = sorted((k for k in found if k != target), key=lambda k: found[k].cost or 0.0)[:COMPARED]
    if target not in found or len(others) < 2:
        return None
    costs: dict[int, float] = {}
    for k in (target, *others):
        if control.stop_requested:
            return None
        yield Notice(message=f"Unlearning triggers toward class {k}, to compare what that costs.")
        costs[k] = _cost(suspect, found[k], images, labels, held, seed, control)
    return Removability(target_class=target, cost=costs.pop(target), others=costs)


def _cost(suspect: Suspect, first: Candidate, images: Tensor, labels: Tensor, held: Tensor, seed: int, control: Control) -> float:
    more = drain(synthesize(
        suspect, images, labels, classes=[first.target_class] * BESIDE, budget=replace(TWINS, families=(first.trigger.family,)),
        seed=seed + SEED_OFFSET, control=control,
    ))  # fmt: skip
    triggers = [first.trigger, *(c.trigger for c in more.candidates if c.cost is not None)]
    task = Task(suspect=suspect, images=images, labels=labels, triggers=triggers, monitor=_unread, seed=seed, control=control)
    return float(belief_lost(suspect, drain(Refit().run(task)), held).mean())


def _unread(_: Suspect) -> Reading:
    return Reading(clean_accuracy=0.0, attack_success_rate=0.0)


def with_removability(verdict: Verdict, found: Removability) -> Verdict:
    """The verdict with one reason more; it moves no label, since no error rate stands behind it yet."""
    others = ", ".join(f"{cost:.1%} (class {k})" for k, cost in found.others.items())
    meaning = "as of something added" if found.is_cheap else "so that it may be made of the class's own features"
    said = (f"Unlearning the trigger toward class {found.target_class} costs {found.cost:.1%} of accuracy by the model's own "
            f"probabilities, unlearning triggers toward others {others}: {meaning}.")  # fmt: skip
    return replace(verdict, reasons=[*verdict.reasons, said])
