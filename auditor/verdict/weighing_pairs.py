"""Pairs of a source and a target class that stand out, and do so again.

What a pair costs is told by a few images of its source, and one that is easily flipped makes any pair cheap. So those
that stand out most are searched once more, in parts: a trigger for each part of the images of the class, searched on
the other parts. Their cost must stand out too, and brought to a cost still clearly below what the pair should cost,
each must flip the images that it has not seen: between any two classes some trigger works, but only a backdoor's does so cheaply.

Legend: N images, C channels, H height, W width, M arms, K classes.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
import torch
from torch import Tensor

from auditor.events import Control, Event, Notice
from auditor.metrics import wilson
from auditor.search import FAMILIES
from auditor.search.sources import FEWEST_IMAGES, Pair, SourceSearch, search_pairs
from auditor.suspect import Suspect
from auditor.triggers import Trigger
from auditor.verdict.confirmation import strengthened
from auditor.verdict.pairs import Expected, PairProfile, expected_costs
from auditor.verdict.sources import LEAST_COST, NEARER, STRONGEST, SourceLead

LOOKED_AT_AGAIN = 5
PARTS = 5
SEED_OFFSET = 104729


def weigh_pairs(
    suspect: Suspect, found: SourceSearch, images: Tensor, labels: Tensor, *, seed: int, control: Control,
    targets: Sequence[int] | None = None,
) -> Generator[Event, None, list[SourceLead]]:  # fmt: skip
    """The pairs that stand out on the `images` (N, C, H, W) and labels (N,) that they were searched on, furthest first; with `targets`
    only those toward them."""
    leads = yield from look_again(suspect, found, images, labels, seed=seed, control=control, targets=targets)
    return [lead for lead in leads if lead.standing >= 1 and not lead.refuted]


def look_again(
    suspect: Suspect, found: SourceSearch, images: Tensor, labels: Tensor, *, seed: int, control: Control,
    targets: Sequence[int] | None = None, profiles: Sequence[PairProfile] | None = None,
) -> Generator[Event, None, list[SourceLead]]:  # fmt: skip
    """The pairs that stood out most, as they do when searched once more, furthest first; none where a stop is asked for."""
    expected, part_N = expected_costs(found.cost, profiles), parts(labels)
    pairs = standing_first(found, expected, labels, targets)[:LOOKED_AT_AGAIN]
    arms = [(pair, part) for pair in pairs for part in range(min(PARTS, int((labels == pair.source).sum())))]
    if not arms or control.stop_requested:
        return []
    yield Notice(message=f"Looking once more at the {len(pairs)} pairs of classes that stand out most.")
    shown_MN = torch.stack([(labels == pair.source) & (part_N != part) for pair, part in arms])
    searched = yield from search_pairs(suspect, images, labels, [pair for pair, _ in arms], shown_MN, seed=seed + SEED_OFFSET, control=control,
                            starts=found.starts)
    leads = []
    for pair in pairs if searched else []:
        own = [(part, *result) for (of, part), result in zip(arms, searched, strict=True) if of == pair]
        leads.append(_lead(suspect, pair, own, expected, images[labels == pair.source], part_N[labels == pair.source]))
    return sorted(leads, key=lambda lead: -lead.standing)


def parts(labels: Tensor) -> Tensor:
    """For every image (N,) its part, from 0 to PARTS - 1, as evenly as each class allows."""
    part_N = torch.zeros(len(labels), dtype=torch.int64)
    for label in torch.unique(labels):  # type: ignore[no-untyped-call]
        own = torch.nonzero(labels == label)[:, 0]
        part_N[own] = torch.arange(len(own)) % PARTS
    return part_N


def standing_first(found: SourceSearch, expected: Expected, labels: Tensor, targets: Sequence[int] | None = None) -> list[Pair]:
    """The pairs with a cost, of sources with images enough for parts, by how far they stand out."""
    many = [k for k in range(len(found.cost)) if int((labels == k).sum()) > FEWEST_IMAGES]
    known = [Pair(*pair) for pair in np.argwhere(np.isfinite(found.cost)).tolist()]

    def standing(pair: Pair) -> float:
        return expected.standing(pair.source, pair.target, log_of(float(found.cost[pair])))

    return sorted((p for p in known if p.source in many and (not targets or p.target in targets)), key=standing, reverse=True)


def log_of(cost: float) -> float:
    """The log of a cost, of one that is nothing that of LEAST_COST."""
    return float(np.log(max(cost, LEAST_COST)))


def _lead(
    suspect: Suspect, pair: Pair, searched: Sequence[tuple[int, float, Trigger]], expected: Expected, images: Tensor, part_N: Tensor
) -> SourceLead:
    """One pair, by its triggers of every part: (part, cost, trigger)."""
    log_cost = float(np.median([log_of(cost) for _, cost, _ in searched]))
    should = float(expected.log_cost[pair])
    allowed = float(np.exp(log_cost + NEARER * max(0.0, should - log_cost)))
    made = []
    for part, cost, trigger in searched:
        stronger = strengthened(FAMILIES[trigger.family], trigger, min(STRONGEST, allowed / max(cost, LEAST_COST)))
        flipped = suspect.predict(stronger.stamp(images[part_N == part])) == pair.target
        made.append((cost, stronger, wilson(int(flipped.sum()), len(flipped))))
    made.sort(key=lambda one: one[0])
    return SourceLead(kind="source_specific", triggers=[t for _, t, _ in made], rates=[r for *_, r in made], cross_fitted=True,
                      standing=expected.standing(pair.source, pair.target, log_cost), cheaper=float(np.exp(should - log_cost)))  # fmt: skip
