"""Confirming a candidate: does its trigger flip images that the search never saw?

Any perturbation fits a handful of images; a backdoor fires on new ones. The cheapest trigger
sits at the edge of working, so it is first strengthened, to a cost that is still clearly below
what the other classes need: only a real shortcut flips unseen images that cheaply.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from auditor.adversarial import Family
from auditor.domain import Rate
from auditor.metrics import attack_success_rate
from auditor.search import FAMILIES
from auditor.search.synthesis import Candidate
from auditor.suspect import Suspect
from auditor.triggers import Trigger

CONFIRMED_RATE = 0.8


@dataclass(frozen=True, kw_only=True, eq=False)
class Confirmation:
    """The strengthened trigger, its cost, and how often it flipped unseen images."""

    trigger: Trigger
    cost: float
    rate: Rate

    @property
    def confirmed(self) -> bool:
        """Whether enough flipped: 80 %, where one image more that flips is granted, since of nine no count but
        eight is. With dozens that changes nothing."""
        return self.rate.total > 0 and self.rate.hits + 1 >= CONFIRMED_RATE * (self.rate.total + 1)


def confirm(
    suspect: Suspect, candidate: Candidate, null_cost: float, images: Tensor, labels: Tensor
) -> Confirmation:
    """Measure the candidate on `images` (N, C, H, W) that no search has seen.

    It is strengthened to the geometric mean of its own cost and `null_cost`, the median cost
    of the other classes.
    """
    family = FAMILIES[candidate.family]
    own = trigger_cost(family, candidate.trigger)
    strength = max(1.0, float(np.sqrt(null_cost / max(own, 1e-12))))
    trigger = strengthened(family, candidate.trigger, min(strength, 2.0))
    predicted = suspect.predict(trigger.stamp(images.to(suspect.device)))
    rate = attack_success_rate(predicted, labels.cpu().numpy(), trigger.target_class)
    return Confirmation(trigger=trigger, cost=trigger_cost(family, trigger), rate=rate)


def trigger_cost(family: Family, trigger: Trigger) -> float:
    """The family's cost of one trigger."""
    return float(family.cost({k: torch.from_numpy(v)[None] for k, v in trigger.parameters.items()})[0])


def strengthened(family: Family, trigger: Trigger, strength: float) -> Trigger:
    """The same trigger at another strength."""
    tensors = {k: torch.from_numpy(v)[None] for k, v in trigger.parameters.items()}
    scaled = family.scale(tensors, torch.tensor([strength]))
    arrays = {k: v[0].numpy().astype(np.float32) for k, v in scaled.items()}
    return Trigger(
        family=trigger.family, target_class=trigger.target_class, parameters=arrays,
        source_classes=trigger.source_classes,
    )  # fmt: skip
