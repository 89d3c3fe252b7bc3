"""Which classes to search: all of a few, a shortlist and a random null sample of many."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from auditor.search.shared import SharedSearch

ALL_UP_TO = 28
NULL_SAMPLE = 20


def classes_to_search(
    num_classes: int, shared: SharedSearch | None, targets: Sequence[int] | None, seed: int, *, exhaustive: bool = False,
    prior: NDArray[np.float64] | None = None,
) -> list[int]:  # fmt: skip
    """Sorted classes to search: all up to 28, or if `exhaustive`; else `targets` when given, or a shortlist, and 20
    random ones as a null."""
    if num_classes <= ALL_UP_TO or exhaustive:
        return list(range(num_classes))
    chosen = {int(target) for target in targets} if targets else shortlist(num_classes, shared, prior)
    others = [c for c in range(num_classes) if c not in chosen]
    null = np.random.default_rng(seed).choice(others, min(NULL_SAMPLE, len(others)), replace=False)
    return sorted(chosen | {int(c) for c in null})


def shortlist(num_classes: int, shared: SharedSearch | None, prior: NDArray[np.float64] | None = None) -> set[int]:
    """8 + log2(K) classes: half of them those that the shared search found in most excess of what honest models
    show, half those that `prior` (K,), which the weights alone tell, ranks highest; all by the one where there is no other."""
    excess = shared.excess if shared is not None else np.zeros(num_classes)
    count = 8 + math.ceil(math.log2(num_classes))
    chosen: set[int] = set(np.argsort(-excess, kind="stable")[: count - (count // 2 if prior is not None else 0)].tolist())
    by_prior = np.argsort(-prior, kind="stable").tolist() if prior is not None else []
    return chosen | set([c for c in by_prior if c not in chosen][: count - len(chosen)])
