"""All-to-all backdoors: one trigger for all images that moves every label by the same step.

A universal trigger toward one class costs too much where each class is sent elsewhere. So every step from 1 to K - 1
is an arm with goals of its own. After a few steps of the descent the two most promising go on alone, and a backdoor's ends
at a fraction of what the other needs, which has been searched as far.

Source: Gu et al., BadNets, 2017 (the attack). The search is ours. Legend: K classes, N images, M arms.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auditor.adversarial import Descent, Family
from auditor.events import Control, Event, SourceSearchStep
from auditor.pricing import ENOUGH_SHARE, tighten
from auditor.search.patch import Patch
from auditor.search.synthesis import REPORT_EVERY, evenly, family_seed, promise
from auditor.suspect import Suspect
from auditor.triggers import Trigger

# Many small steps tell a backdoor's step from the others soon; what it costs is found by fewer, larger ones.
FIRST_STEPS, FIRST_BATCH = 30, 4
KEPT, LAST_STEPS, LAST_BATCH = 2, 160, 6
PRICED_IMAGES, PRICING_ROUNDS = 28, 6
# Masks that begin half open lock into the class that their noise resembles; begun nearly shut they do not.
FAMILY: Family = Patch(initial_mask=-2.5)


@dataclass(frozen=True, kw_only=True, eq=False)
class Shift:
    """The cheapest trigger found that moves every label by `step`; `cost` is where the pricing ended,
    enough or not."""

    step: int
    cost: float
    flip_share: float
    parameters: dict[str, NDArray[np.float32]]

    @property
    def works(self) -> bool:
        return self.flip_share >= ENOUGH_SHARE

    def triggers(self, classes: int) -> list[Trigger]:
        """One trigger a source class, each toward its own target."""
        return [Trigger(family=FAMILY.name, target_class=(source + self.step) % classes, parameters=self.parameters,
                        source_classes=[source]) for source in range(classes)]  # fmt: skip


def search_all_to_all(
    suspect: Suspect, images: Tensor, labels: Tensor, *, seed: int, control: Control
) -> Generator[Event, None, list[Shift]]:
    """The cheapest triggers for the KEPT most promising steps, on `images` (N, C, H, W) in [0, 1], of which the suspect
    gets every one right; none where a stop was asked for before the end."""
    generator = torch.Generator().manual_seed(family_seed(seed, "shift patch"))
    steps = torch.arange(1, suspect.num_classes)
    goals_MN = (labels[None] + steps[:, None]) % suspect.num_classes
    raw = FAMILY.start(len(steps), suspect.input_shape, generator)
    descent = Descent(suspect, FAMILY, images, labels, steps, raw, generator, FIRST_BATCH, goals_MN=goals_MN)
    total = FIRST_STEPS + LAST_STEPS
    for number in range(total):
        if control.stop_requested:
            return []
        if number == FIRST_STEPS:
            kept = promise(descent).argsort()[:KEPT]
            descent.keep(kept)
            descent.batch_size = LAST_BATCH
            steps, goals_MN = steps[kept], goals_MN[kept]
        descent.step()
        if (number + 1) % REPORT_EVERY == 0 or number + 1 == total:
            yield SourceSearchStep(kind="all_to_all", step=number + 1, steps=total, triggers=len(steps))
    priced = evenly(labels, PRICED_IMAGES)
    parameters, share = tighten(suspect, FAMILY, descent.best, steps, images[priced], labels[priced], PRICING_ROUNDS,
                                goals_MN=goals_MN[:, priced])  # fmt: skip
    cost = FAMILY.cost(parameters)
    return [Shift(step=step, cost=float(cost[i]), flip_share=float(share[i]), parameters=arrays(parameters, i))
            for i, step in enumerate(steps.tolist())]  # fmt: skip


def arrays(parameters: dict[str, Tensor], index: int) -> dict[str, NDArray[np.float32]]:
    """One arm's parameters as a trigger holds them."""
    return {name: value[index].detach().float().cpu().numpy() for name, value in parameters.items()}
