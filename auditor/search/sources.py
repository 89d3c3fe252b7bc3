"""Backdoors that mind where an image comes from: only one source class, or every class to another.

A trigger that flips one class alone (TaCT) costs too much as a universal one. So a patch is searched
from every class toward every other, on images of that class alone; all-to-all backdoors have a search
of their own (all_to_all.py).

Source: Tang et al., Demon in the Variant (TaCT), USENIX Security 2021 (the attack). The search is ours.
Legend: K classes, N images, M arms.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auditor.adversarial import Descent
from auditor.events import Control, Event, Notice, SourceSearchStep
from auditor.pricing import tighten
from auditor.search.all_to_all import FAMILY, Shift, arrays, search_all_to_all
from auditor.search.synthesis import REPORT_EVERY, family_seed
from auditor.suspect import Suspect
from auditor.triggers import Trigger

FEWEST_IMAGES = 2
# One image a step tells nearly as much as four do; beginning anew finds places that a mask begun nearly shut does not meet.
PAIR_STEPS, PAIR_BATCH = 55, 1
STARTS, THOROUGH_STARTS = 1, 3
PRICED_IMAGES, PRICING_ROUNDS = 6, 4
MOST_BYTES, PATCH_BYTES = 2**29, 80  # of four channels in float32 and five copies a pixel: at 32x32 all pairs go together


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceSearch:
    """`cost` (K, K) from class (row) to class (column), NaN where there were no images or pairs were not searched.
    Each pair was begun `starts` times. `complete` is False when the time ran out."""

    cost: NDArray[np.float64]
    starts: int = STARTS
    shifts: list[Shift] = field(default_factory=list)
    with_pairs: bool = True
    with_steps: bool = True
    complete: bool = True


class Pair(NamedTuple):
    """From images of one class to another."""

    source: int
    target: int


def search_sources(
    suspect: Suspect, images: Tensor, labels: Tensor, *, seed: int, control: Control, with_steps: bool = True,
    pairs_on: tuple[Tensor, Tensor] | None = None, starts: int = STARTS,
) -> Generator[Event, None, SourceSearch]:  # fmt: skip
    """The steps of an all-to-all backdoor on `images` (N, C, H, W) in [0, 1] with their `labels` (N,), and pairs of a source
    and a target class on `pairs_on`, images and labels alike, of which the suspect knows every one: they are confirmed by
    cross-fitting, and may see all."""
    shifts: list[Shift] = []
    if with_steps and len((known := right(suspect, images, labels))[0]) >= FEWEST_IMAGES:
        yield Notice(message="Searching for a trigger that moves every class to another.")
        shifts = yield from search_all_to_all(suspect, *known, seed=seed, control=control)
    cost = np.full((suspect.num_classes, suspect.num_classes), np.nan)
    found = SourceSearch(cost=cost, shifts=shifts, with_pairs=pairs_on is not None, with_steps=with_steps, starts=starts,
                         complete=not control.stop_requested)  # fmt: skip
    return found if pairs_on is None else (yield from _search_pairs(suspect, *pairs_on, found, seed, control))


def right(suspect: Suspect, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The images (N, C, H, W) that the suspect knows, and their labels."""
    known = torch.from_numpy(suspect.predict(images)) == labels
    return images[known], labels[known]


def _search_pairs(
    suspect: Suspect, images: Tensor, labels: Tensor, found: SourceSearch, seed: int, control: Control
) -> Generator[Event, None, SourceSearch]:
    classes, cost = range(suspect.num_classes), found.cost.copy()
    sources = [k for k in classes if int((labels == k).sum()) >= FEWEST_IMAGES]
    pairs = [Pair(source, target) for source in sources for target in classes if target != source]
    if pairs and not control.stop_requested:
        yield Notice(message=f"Searching for triggers that act on one class only: {len(sources)} source classes.")
        of_source = torch.stack([labels == pair.source for pair in pairs])
        searched = yield from search_pairs(suspect, images, labels, pairs, of_source, seed=seed, control=control, starts=found.starts)
        for pair, (price, _) in zip(pairs, searched, strict=False):
            cost[pair] = price
    return replace(found, cost=cost, complete=not control.stop_requested)


def search_pairs(
    suspect: Suspect, images: Tensor, labels: Tensor, pairs: Sequence[Pair], shown_MN: Tensor, *, seed: int, control: Control,
    starts: int = STARTS,
) -> Generator[Event, None, list[tuple[float, Trigger]]]:  # fmt: skip
    """The cheapest patch of each pair on those `images` (N, C, H, W) of its source that it is shown (M, N), and its cost;
    nothing where a stop is asked for. Each is begun `starts` times."""
    generator = torch.Generator().manual_seed(family_seed(seed, "pairs"))
    every, shown_MN = [*pairs] * starts, shown_MN.repeat(starts, 1)
    priced: list[tuple[float, Trigger]] = []
    chunks = torch.split(torch.arange(len(every)), _arms_at_once(suspect))
    for number, some in enumerate(chunks):
        if control.stop_requested:
            return []
        priced += yield from _descend(suspect, images, labels, [every[arm] for arm in some.tolist()], shown_MN[some], generator, control,
                                      steps_before=number * PAIR_STEPS, steps_in_all=len(chunks) * PAIR_STEPS)  # fmt: skip
    return [min(priced[first :: len(pairs)], key=lambda one: one[0]) for first in range(len(pairs))] if len(priced) == len(every) else []


def _arms_at_once(suspect: Suspect) -> int:
    """How many patches MOST_BYTES hold: masks and patterns, and what the descent remembers of each."""
    _, height, width = suspect.input_shape
    return max(1, MOST_BYTES // (PATCH_BYTES * height * width))


def _descend(
    suspect: Suspect, images: Tensor, labels: Tensor, pairs: Sequence[Pair], shown_MN: Tensor, generator: torch.Generator,
    control: Control, *, steps_before: int, steps_in_all: int,
) -> Generator[Event, None, list[tuple[float, Trigger]]]:  # fmt: skip
    """Search some of the pairs together; the steps before and in all, of others too, are for what it tells of its progress."""
    targets = torch.tensor([pair.target for pair in pairs])
    raw = FAMILY.start(len(pairs), suspect.input_shape, generator)
    descent = Descent(suspect, FAMILY, images, labels, targets, raw, generator, PAIR_BATCH, shown_MN=shown_MN)
    for number in range(1, PAIR_STEPS + 1):
        if control.stop_requested:
            return []
        descent.step()
        if number % REPORT_EVERY == 0 or number == PAIR_STEPS:
            yield SourceSearchStep(kind="source_specific", step=steps_before + number, steps=steps_in_all, triggers=len(pairs))
    found: dict[int, tuple[float, Trigger]] = {}
    alike, group_M = torch.unique(shown_MN, dim=0, return_inverse=True)
    for group, shown_N in enumerate(alike):
        arms, own = torch.nonzero(group_M == group)[:, 0], torch.nonzero(shown_N)[:PRICED_IMAGES, 0]
        best = {name: value[arms.to(value.device)] for name, value in descent.best.items()}
        parameters, _ = tighten(suspect, FAMILY, best, targets[arms], images[own], labels[own], PRICING_ROUNDS)
        for i, arm in enumerate(arms.tolist()):
            trigger = Trigger(family=FAMILY.name, target_class=pairs[arm].target, parameters=arrays(parameters, i),
                              source_classes=[pairs[arm].source])  # fmt: skip
            found[arm] = float(FAMILY.cost(parameters)[i]), trigger
    return [found[arm] for arm in range(len(pairs))]
