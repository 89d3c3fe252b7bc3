"""Backdoors that mind where an image comes from: only one source class, or every class to another.

A trigger that flips one class alone (TaCT) costs too much as a universal one; so does one that
sends each class elsewhere (all-to-all). Two searches with goals of their own: a patch from every
class toward every other, on images of that class alone; and one trigger for all images that moves
every label by the same step, as all-to-all attacks do.

Sources: Tang et al., Demon in the Variant (TaCT), USENIX Security 2021; Gu et al., BadNets, 2017
(all-to-all). Both searches are ours. Legend: K classes searched, N images, M arms.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auditor.adversarial import ENOUGH_SHARE, Descent, Family, tighten
from auditor.events import Control, Event, Notice
from auditor.search import FAMILIES
from auditor.search.patch import Patch
from auditor.search.synthesis import family_seed
from auditor.suspect import Suspect
from auditor.triggers import Trigger

MOST_CLASSES = 16  # pairs grow with the square
FEWEST_IMAGES = 2
PAIR_STEPS, PAIR_BATCH = 60, 4
SHIFT_STEPS, SHIFT_BATCH = 80, 16
PRICING_ROUNDS = 6
# Masks that begin half open lock into the class that their noise resembles; begun nearly shut they
# do not, and images of one class are few enough to meet a small trigger's place in time.
PAIR_FAMILY: Family = Patch(initial_mask=-2.5)
SHIFT_FAMILIES: dict[str, Family] = {"patch": PAIR_FAMILY, "additive": FAMILIES["additive"]}


@dataclass(frozen=True, kw_only=True, eq=False)
class Shift:
    """The cheapest trigger found that moves every label by `step`; `cost` is where the pricing ended,
    enough or not."""

    step: int
    family: str
    cost: float
    flip_share: float
    parameters: dict[str, NDArray[np.float32]]

    @property
    def works(self) -> bool:
        return self.flip_share >= ENOUGH_SHARE

    def triggers(self, classes: int) -> list[Trigger]:
        """One trigger a source class, each toward its own target."""
        return [Trigger(family=self.family, target_class=(source + self.step) % classes, parameters=self.parameters,
                        source_classes=[source]) for source in range(classes)]  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceSearch:
    """`cost` (K, K) from class (row) to class (column), NaN where there were no images; `pairs` are
    the triggers of those that work. `complete` is False when the time ran out."""

    cost: NDArray[np.float64]
    pairs: dict[tuple[int, int], Trigger] = field(default_factory=dict)
    shifts: list[Shift] = field(default_factory=list)
    complete: bool = True


def search_sources(
    suspect: Suspect, images: Tensor, labels: Tensor, *, seed: int, control: Control
) -> Generator[Event, None, SourceSearch]:  # fmt: skip
    """Both searches on `images` (N, C, H, W) in [0, 1]; those the suspect gets wrong are left out."""
    right = torch.from_numpy(suspect.predict(images)) == labels
    images, labels = images[right], labels[right]
    shifts: list[Shift] = []
    if len(images) >= FEWEST_IMAGES:
        yield Notice(message="Searching for a trigger that moves every class to another.")
        for name, family in SHIFT_FAMILIES.items():
            if not control.stop_requested:
                shifts += _search_shifts(suspect, name, family, images, labels, family_seed(seed, f"shift {name}"))
    classes = suspect.num_classes
    cost = np.full((classes, classes), np.nan)
    pairs: dict[tuple[int, int], Trigger] = {}
    yield Notice(message=f"Searching for triggers that act on one class only: {classes} source classes.")
    for source in range(classes):
        if control.stop_requested:
            return SourceSearch(cost=cost, pairs=pairs, shifts=shifts, complete=False)
        own = images[labels == source]
        if len(own) >= FEWEST_IMAGES:
            targets = [target for target in range(classes) if target != source]
            found = _search_from(suspect, own, source, targets, family_seed(seed, f"source {source}"))
            for target, (price, works, trigger) in zip(targets, found, strict=True):
                cost[source, target] = price
                if works:
                    pairs[source, target] = trigger
    return SourceSearch(cost=cost, pairs=pairs, shifts=shifts, complete=not control.stop_requested)


def _search_from(
    suspect: Suspect, images: Tensor, source: int, targets: Sequence[int], seed: int
) -> list[tuple[float, bool, Trigger]]:
    """The cheapest patch from one class toward each target: its cost, whether it flips enough, the trigger."""
    generator = torch.Generator().manual_seed(seed)
    wanted, labels = torch.tensor(targets), torch.full((len(images),), source)
    raw = PAIR_FAMILY.start(len(targets), suspect.input_shape, generator)
    descent = Descent(suspect, PAIR_FAMILY, images, labels, wanted, raw, generator, min(PAIR_BATCH, len(images)))
    for _ in range(PAIR_STEPS):
        descent.step()
    parameters, share = tighten(suspect, PAIR_FAMILY, descent.best, wanted, images, labels, PRICING_ROUNDS)
    cost = PAIR_FAMILY.cost(parameters)
    return [
        (float(cost[i]), bool(share[i] >= ENOUGH_SHARE),
         Trigger(family="patch", target_class=target, parameters=_arrays(parameters, i), source_classes=[source]))
        for i, target in enumerate(targets)
    ]  # fmt: skip


def _search_shifts(suspect: Suspect, name: str, family: Family, images: Tensor, labels: Tensor, seed: int) -> list[Shift]:
    """The cheapest trigger of a family for every step from 1 to K - 1."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.arange(1, suspect.num_classes)
    goals_MN = (labels[None] + steps[:, None]) % suspect.num_classes
    raw = family.start(len(steps), suspect.input_shape, generator)
    # Images mixed with one another would have no label to move.
    descent = Descent(suspect, family, images, labels, steps, raw, generator, SHIFT_BATCH, goals_MN=goals_MN, most_mixed=0.0)
    for _ in range(SHIFT_STEPS):
        descent.step()
    parameters, share = tighten(suspect, family, descent.best, steps, images, labels, PRICING_ROUNDS, goals_MN=goals_MN)
    cost = family.cost(parameters)
    return [Shift(step=int(step), family=name, cost=float(cost[i]), flip_share=float(share[i]), parameters=_arrays(parameters, i))
            for i, step in enumerate(steps)]  # fmt: skip


def _arrays(parameters: dict[str, Tensor], index: int) -> dict[str, NDArray[np.float32]]:
    return {name: value[index].detach().float().cpu().numpy() for name, value in parameters.items()}
