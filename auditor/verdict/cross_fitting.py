"""Confirming a trigger of one source class, of which there are few images: each flips by a trigger searched on the others.

Of a hundred images some seven are of a class, and one or two are left unseen by a search: too few to confirm anything.
So a pair that stands out is searched again for every part of its images, on the other parts, and what is found is brought
to the cost of the first trigger: between any two classes some trigger works, but only a backdoor's does so cheaply. The
pair was chosen on most of these images, but no trigger has seen what it is tried on.

Legend: N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from auditor.domain import Rate
from auditor.events import Control, Event, Notice
from auditor.metrics import wilson
from auditor.search import FAMILIES
from auditor.search.sources import FEWEST_IMAGES, search_pair
from auditor.suspect import Suspect
from auditor.verdict.confirmation import strengthened, trigger_cost
from auditor.verdict.sources import LEAST_COST, STRONGEST, SourceLead, best_first

FOLDS = 5


def cross_fitted(
    suspect: Suspect, leads: Sequence[SourceLead], images: Tensor, labels: Tensor, *, seed: int, control: Control
) -> Generator[Event, None, list[SourceLead]]:
    """The leads, those of one source class measured anew on the images (N, C, H, W) of their class; best first.

    At most as many pairs as there are classes, which is what a backdoor of all to all has; those that stand out furthest.
    Others, and all where a stop is asked for, stay as they are.
    """
    pairs = [lead for lead in leads if lead.kind == "source_specific"][: suspect.num_classes]
    measured = [lead for lead in leads if lead not in pairs]
    for number, lead in enumerate(pairs, start=1):
        rate = None
        if not control.stop_requested:
            yield Notice(message=f"Confirming a pair of classes on every image of its source: {number} of {len(pairs)}.")
            rate = _rate(suspect, lead, images, labels, seed)
        measured.append(lead if rate is None else replace(lead, rates=[rate], cross_fitted=True))
    return best_first(measured)


def _rate(suspect: Suspect, lead: SourceLead, images: Tensor, labels: Tensor, seed: int) -> Rate | None:
    """How many of the source's images that the suspect knows flip; None where they are too few for two parts."""
    (first,) = lead.triggers
    (source,), target, family = first.source_classes, first.target_class, FAMILIES[first.family]
    allowed = trigger_cost(family, first)
    own = images[labels == source]
    if len(own):
        own = own[torch.from_numpy(suspect.predict(own)) == source]
    if len(own) <= FEWEST_IMAGES:
        return None
    part, hits = torch.arange(len(own)) % FOLDS, 0
    for fold in range(min(FOLDS, len(own))):
        cost, _, trigger = search_pair(suspect, own[part != fold], source, target, seed + fold)
        stamped = strengthened(family, trigger, min(STRONGEST, allowed / max(cost, LEAST_COST))).stamp(own[part == fold])
        hits += int((suspect.predict(stamped) == target).sum())
    return wilson(hits, len(own))
