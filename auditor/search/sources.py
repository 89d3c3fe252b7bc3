"""Backdoors that mind where an image comes from: only one source class, or every class to another.

A trigger that flips one class alone (TaCT) costs too much as a universal one. So a patch is searched
from every class toward every other, on images of that class alone; all-to-all backdoors have a search
of their own (all_to_all.py).

Source: Tang et al., Demon in the Variant (TaCT), USENIX Security 2021 (the attack). The search is ours.
Legend: K classes, N images.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auditor.adversarial import Descent
from auditor.events import Control, Event, Notice
from auditor.pricing import ENOUGH_SHARE, tighten
from auditor.search.all_to_all import FAMILY, PRICING_ROUNDS, Shift, arrays, search_all_to_all
from auditor.search.synthesis import family_seed
from auditor.suspect import Suspect
from auditor.triggers import Trigger

MOST_CLASSES = 16  # pairs grow with the square
FEWEST_IMAGES = 2
PAIR_STEPS, PAIR_BATCH = 60, 4  # images of one class are few enough to meet a small trigger's place in time


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceSearch:
    """`cost` (K, K) from class (row) to class (column), NaN where there were no images or pairs were not searched;
    `pairs` are the triggers of those that work. `complete` is False when the time ran out."""

    cost: NDArray[np.float64]
    pairs: dict[tuple[int, int], Trigger] = field(default_factory=dict)
    shifts: list[Shift] = field(default_factory=list)
    with_pairs: bool = True
    with_steps: bool = True
    complete: bool = True


def search_sources(
    suspect: Suspect, images: Tensor, labels: Tensor, *, seed: int, control: Control, with_pairs: bool = True,
    with_steps: bool = True,
) -> Generator[Event, None, SourceSearch]:  # fmt: skip
    """Pairs of a source and a target class, and the steps of an all-to-all backdoor, on `images` (N, C, H, W) in
    [0, 1]; those that the suspect gets wrong are left out."""
    right = torch.from_numpy(suspect.predict(images)) == labels
    images, labels = images[right], labels[right]
    shifts: list[Shift] = []
    if with_steps and len(images) >= FEWEST_IMAGES:
        yield Notice(message="Searching for a trigger that moves every class to another.")
        shifts = search_all_to_all(suspect, images, labels, seed=seed, control=control)
    nothing = np.full((suspect.num_classes, suspect.num_classes), np.nan)
    found = SourceSearch(cost=nothing, shifts=shifts, with_pairs=with_pairs, with_steps=with_steps, complete=not control.stop_requested)
    return (yield from _search_pairs(suspect, images, labels, found, seed, control)) if with_pairs else found


def _search_pairs(
    suspect: Suspect, images: Tensor, labels: Tensor, found: SourceSearch, seed: int, control: Control
) -> Generator[Event, None, SourceSearch]:
    classes, cost = suspect.num_classes, found.cost.copy()
    pairs: dict[tuple[int, int], Trigger] = {}
    yield Notice(message=f"Searching for triggers that act on one class only: {classes} source classes.")
    for source in range(classes):
        if control.stop_requested:
            break
        own = images[labels == source]
        if len(own) >= FEWEST_IMAGES:
            targets = [target for target in range(classes) if target != source]
            for target, (price, works, trigger) in zip(targets, _search_from(suspect, own, source, targets, seed), strict=True):
                cost[source, target] = price
                if works:
                    pairs[source, target] = trigger
    return replace(found, cost=cost, pairs=pairs, complete=not control.stop_requested)


def search_pair(suspect: Suspect, images: Tensor, source: int, target: int, seed: int) -> tuple[float, bool, Trigger]:
    """The cheapest patch from one class to another on `images` (N, C, H, W) of the class: its cost, whether it flips enough,
    the trigger."""
    return _search_from(suspect, images, source, [target], seed)[0]


def _search_from(
    suspect: Suspect, images: Tensor, source: int, targets: Sequence[int], seed: int
) -> list[tuple[float, bool, Trigger]]:
    """The cheapest patch from one class toward each target: its cost, whether it flips enough, the trigger."""
    generator = torch.Generator().manual_seed(family_seed(seed, f"source {source}"))
    wanted, labels = torch.tensor(targets), torch.full((len(images),), source)
    raw = FAMILY.start(len(targets), suspect.input_shape, generator)
    descent = Descent(suspect, FAMILY, images, labels, wanted, raw, generator, min(PAIR_BATCH, len(images)))
    for _ in range(PAIR_STEPS):
        descent.step()
    parameters, share = tighten(suspect, FAMILY, descent.best, wanted, images, labels, PRICING_ROUNDS)
    cost = FAMILY.cost(parameters)
    return [
        (float(cost[i]), bool(share[i] >= ENOUGH_SHARE),
         Trigger(family=FAMILY.name, target_class=target, parameters=arrays(parameters, i), source_classes=[source]))
        for i, target in enumerate(targets)
    ]  # fmt: skip
