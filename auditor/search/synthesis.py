"""Trigger synthesis: every class, every family, in one batched descent with successive halving.

For each family, several restarts toward each class descend together; after a first rung the
best restart of each class goes on, all classes for equally many steps, so that their costs can
be compared. Costs are then read at equal success. At the end, where what was found is worth it,
the cheapest classes are refined further for a good trigger, which never changes the costs compared.

Legend: M arms, K classes searched, N images, C channels, H height, W width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from auditor.adversarial import Descent, Family
from auditor.errors import UsageError
from auditor.events import Control, Event, SearchStep
from auditor.pricing import ENOUGH_SHARE, tighten
from auditor.search import FAMILIES
from auditor.search.budgets import Budget
from auditor.search.shared import SharedSearch
from auditor.suspect import Suspect
from auditor.triggers import Trigger

REPORT_EVERY = 5
DEPEND_ON_THE_IMAGE = ("warp", "feature")  # what they do to an even grey says nothing


PRICING_ROUNDS = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """The cheapest trigger found toward one class. `cost` is None when it flips too few images, and
    then `bound` is the cost at which it still did; `trigger` may be refined beyond `cost`, which is
    read at equal steps for all classes."""

    trigger: Trigger
    cost: float | None
    flip_share: float
    bound: float | None = None

    @property
    def target_class(self) -> int:
        return self.trigger.target_class

    @property
    def family(self) -> str:
        return self.trigger.family


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchResult:
    candidates: list[Candidate]
    shared: SharedSearch | None = None
    complete: bool = True
    skipped: list[str] = field(default_factory=list)


def synthesize(
    suspect: Suspect, images: Tensor, labels: Tensor, *, classes: Sequence[int], budget: Budget, seed: int,
    control: Control, shared: SharedSearch | None = None, families: dict[str, Family] | None = None,
    worth_refining: Callable[[SearchResult], bool] = lambda _: True,
) -> Generator[Event, None, SearchResult]:  # fmt: skip
    """Search the budget's families, or `families`, toward every class on `images` (N, C, H, W) in [0, 1].

    `worth_refining` is asked once all costs are known, whether the cheapest triggers are to be refined. Stops at the control's wish with what it has; families not finished are named in `skipped`.
    Raises UsageError without images or classes.
    """
    if not len(images) or not len(classes):
        raise UsageError("A search needs images and classes.", "Give clean images with --clean PATH.")
    searched: list[_Searched] = []
    skipped: list[str] = []
    families = {name: FAMILIES[name] for name in budget.over(len(classes)).families} if families is None else families

    def result() -> SearchResult:
        return SearchResult(candidates=[c for one in searched for c in one.candidates()], shared=shared, complete=not skipped, skipped=skipped)

    for name, family in families.items():
        if not control.stop_requested:
            generator = torch.Generator().manual_seed(family_seed(seed, name))
            searched.append((yield from _search_family(suspect, family, images, labels, classes, budget, generator, control, shared)))
        if control.stop_requested:
            skipped.append(name)
    if budget.refine_steps and not control.stop_requested and worth_refining(result()):
        for one in searched:
            yield from one.refine(control)
    return result()


def family_seed(seed: int, name: str) -> int:
    """A seed of its own for each family, whatever others are searched beside it."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:7], "big")


@dataclass(kw_only=True, eq=False)
class _Searched:
    """A family that was searched: where its descent stands, and every class's trigger with its price. `cost` and `bound` stay
    as they were priced, after equally many steps for all."""

    descent: Descent
    budget: Budget
    classes: Sequence[int]
    images: Tensor
    labels: Tensor
    parameters: dict[str, Tensor]
    cost: Tensor
    bound: Tensor
    share: Tensor

    def candidates(self) -> list[Candidate]:
        family, share = self.descent.family, self.share.nan_to_num(0.0)  # no image to flip
        return [_candidate(family, self.parameters, i, int(c), float(self.cost[i]), float(self.bound[i]), float(share[i]))
                for i, c in enumerate(self.classes)]  # fmt: skip

    def refine(self, control: Control) -> Generator[Event, None, None]:
        """Go on with the cheapest classes alone, for better triggers; not where a stop is asked for."""
        if control.stop_requested:
            return
        cheapest, flat = self.cost.argsort()[: self.budget.refined], torch.tensor(list(self.classes))
        self.descent.keep(cheapest)
        yield from _descend(self.descent, self.budget.steps, self.budget.steps + self.budget.refine_steps, control)
        refined, self.share[cheapest] = tighten(self.descent.suspect, self.descent.family, self.descent.best, flat[cheapest],
                                                self.images, self.labels, PRICING_ROUNDS)  # fmt: skip
        for name, value in self.parameters.items():
            value[cheapest] = refined[name]


def _search_family(
    suspect: Suspect, family: Family, images: Tensor, labels: Tensor, classes: Sequence[int], budget: Budget,
    generator: torch.Generator, control: Control, shared: SharedSearch | None,
) -> Generator[Event, None, _Searched]:  # fmt: skip
    budget = budget.over(len(classes)).at_pace(family.pace)
    targets = torch.tensor(list(classes)).repeat(budget.restarts)
    raw = family.start(len(targets), suspect.input_shape, generator)
    if shared is not None:
        raw = start_from_shared(family, raw, shared, targets, len(classes))
    descent = Descent(suspect, family, images, labels, targets, raw, generator, budget.batch_size)
    if budget.restarts > 1:
        yield from _descend(descent, 0, budget.first_steps, control, budget.steps)
        descent.keep(best_restarts(descent, len(classes)))
    yield from _descend(descent, descent.steps_taken, budget.steps, control)
    priced = evenly(labels, budget.priced_images)
    images, labels = images[priced], labels[priced]
    parameters, share = tighten(suspect, family, descent.best, torch.tensor(list(classes)), images, labels, PRICING_ROUNDS)
    bound = family.cost(parameters).cpu()
    cost = torch.where(share >= ENOUGH_SHARE, bound, torch.inf)
    best = {name: value.clone() for name, value in parameters.items()}
    return _Searched(descent=descent, budget=budget, classes=classes, images=images, labels=labels, parameters=best, cost=cost,
                     bound=bound, share=share)  # fmt: skip


def evenly(labels_N: Tensor, count: int) -> Tensor:
    """Indices of at most `count` images, as evenly over the classes as they allow."""
    by_class = torch.argsort(labels_N, stable=True)
    return by_class[torch.linspace(0, len(by_class) - 1, min(count, len(by_class))).round().long()]


def start_from_shared(
    family: Family, raw: dict[str, Tensor], shared: SharedSearch, targets: Tensor, classes: int
) -> dict[str, Tensor]:
    """Let the first restart of each class begin at the shared perturbation toward it."""
    begin = {k: v.clone() for k, v in raw.items()}
    for arm in range(classes):
        mean = shared.perturbation[int(targets[arm])]
        if not mean.any():
            continue
        for name, value in family.start_from(mean).items():
            begin[name][arm] = value
    return begin


def best_restarts(descent: Descent, classes: int) -> Tensor:
    """Indices (K,) of each class's most promising arm."""
    best: Tensor = promise(descent).view(-1, classes).argmin(0) * classes + torch.arange(classes)
    return best


def promise(descent: Descent) -> Tensor:
    """A rank (M,), the least the best: arms by cost if they flip enough, else behind these by how many they flip."""
    return torch.where(torch.isinf(descent.best_cost), 2 - descent.flipped, descent.best_cost.tanh()).cpu()


def _descend(descent: Descent, start: int, stop: int, control: Control, total: int | None = None) -> Generator[Event, None, None]:
    for step in range(start, stop):
        if control.stop_requested:
            return
        progress = descent.step()
        if (step + 1) % REPORT_EVERY == 0 or step + 1 == stop:
            yield _report(descent, progress.loss, step + 1, total or stop)


def _report(descent: Descent, loss: Tensor, step: int, total: int) -> SearchStep:
    cost = descent.best_cost.cpu()
    arm = int(cost.argmin())
    one = {k: v[arm : arm + 1] for k, v in descent.best.items()}
    with torch.no_grad():
        stamped = _pictured(descent, one).clamp(0, 1).expand(3, -1, -1)
    picture = stamped.permute(1, 2, 0).cpu().numpy().astype(np.float32)
    return SearchStep(
        family=descent.family.name, step=step, steps=total, classes=descent.targets.tolist(), loss=loss.tolist(),
        attack_success_rate=descent.flipped.tolist(), cost=[None if c == torch.inf else c for c in cost.tolist()],
        picture=picture, picture_class=int(descent.targets[arm]),
    )  # fmt: skip


def _pictured(descent: Descent, one: dict[str, Tensor]) -> Tensor:
    """One trigger (C, H, W) on grey; one that depends on the image, as its change to the first, on grey."""
    family, device = descent.family, descent.suspect.device
    if family.name in DEPEND_ON_THE_IMAGE:
        image = descent.images[None, :1]
        return 0.5 + (family.stamp(one, image) - image)[0, 0]
    grey = torch.full((1, 1, *descent.suspect.input_shape), 0.5, device=device)
    return family.stamp(one, grey)[0, 0]


def _candidate(
    family: Family, best: dict[str, Tensor], index: int, target: int, cost: float, bound: float, share: float
) -> Candidate:
    arrays = {k: v[index].detach().float().cpu().numpy() for k, v in best.items()}
    trigger = Trigger(family=family.name, target_class=target, parameters=arrays)
    return Candidate(trigger=trigger, cost=None if cost == float("inf") else cost, flip_share=share, bound=bound)
