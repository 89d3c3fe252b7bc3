"""Confirming a trigger of one source class, of which there are few images: each flips by a trigger searched on the others.

Of a hundred images some seven are of a class, and one or two are left unseen by a search: too few to confirm anything.
So the pair is searched again for every part of its images, on the other parts. The pair was chosen on most of these
images, which is no more than a choice among pairs that honest models are known for; no trigger has seen what it is
tried on.

Legend: N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from auditor.domain import Rate
from auditor.metrics import wilson
from auditor.search.sources import FEWEST_IMAGES, search_pair
from auditor.suspect import Suspect
from auditor.triggers import Trigger

FOLDS = 5
Strengthen = Callable[[Trigger, float], Trigger]


def cross_fitted_rate(
    suspect: Suspect, images: Tensor, labels: Tensor, source: int, target: int, strengthen: Strengthen, seed: int
) -> Rate | None:
    """How many of the images (N, C, H, W) of the class `source`, which the suspect knows, flip to `target`.

    `strengthen` is given each trigger and its cost. None where there are too few images for two parts.
    """
    own = images[labels == source]
    own = own[torch.from_numpy(suspect.predict(own)) == source] if len(own) else own
    folds = min(FOLDS, len(own))
    if len(own) <= FEWEST_IMAGES:
        return None
    hits, part = 0, torch.arange(len(own)) % folds
    for fold in range(folds):
        cost, _, trigger = search_pair(suspect, own[part != fold], source, target, seed + fold)
        stamped = strengthen(trigger, cost).stamp(own[part == fold])
        hits += int((suspect.predict(stamped) == target).sum())
    return wilson(hits, len(own))
