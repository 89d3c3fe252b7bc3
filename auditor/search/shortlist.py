"""Which classes to search: all of a few, a shortlist and a random null sample of many."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from auditor.search.shared import SharedSearch

ALL_UP_TO = 28
NULL_SAMPLE = 20


def classes_to_search(
    num_classes: int, shared: SharedSearch | None, targets: Sequence[int] | None, seed: int, *, exhaustive: bool = False
) -> list[int]:
    """Sorted classes to search: all up to 28, or if `exhaustive`; else a shortlist and 20 random ones as a null.

    The shortlist is `targets` when given, else the 8 + log2(K) classes that the shared search
    found in most excess of what honest models show.
    """
    if num_classes <= ALL_UP_TO or exhaustive:
        return list(range(num_classes))
    if targets:
        chosen = {int(target) for target in targets}
    else:
        excess = shared.excess if shared is not None else np.zeros(num_classes)
        chosen = set(np.argsort(-excess, kind="stable")[: 8 + math.ceil(math.log2(num_classes))].tolist())
    others = [c for c in range(num_classes) if c not in chosen]
    null = np.random.default_rng(seed).choice(others, min(NULL_SAMPLE, len(others)), replace=False)
    return sorted(chosen | {int(c) for c in null})
