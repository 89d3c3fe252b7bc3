"""Splits images into those that search and unlearning may see and those that verify the result.

Legend: N images, G groups of identical images.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from auditor.errors import InputError

Labels = NDArray[np.int64]
Pixels = NDArray[np.uint8] | NDArray[np.float32]
Basis = Literal["held_out", "cross_fitted"]

VERIFY_SHARE = 0.3
CONFIRM_SHARE = 0.25  # of the work images
HELD_OUT_FROM = 30
FOLDS = 3
FEW_A_CLASS = 5


@dataclass(frozen=True, eq=False)
class Split:
    """Sorted image indices: `work` for search and unlearning, `verify` for verification alone.

    With basis `held_out` the two are disjoint and `folds` is that one pair. With `cross_fitted`
    (too few images to hold any out for good) both name every image, and verification must go
    through `folds`: pairs (work, verify) disjoint in themselves, whose verify parts together
    are all images once. `folds` is empty when there are fewer than two distinct images.
    """

    work: Labels
    verify: Labels
    basis: Basis
    folds: list[tuple[Labels, Labels]]
    notices: list[str] = field(default_factory=list)


def split(
    images: Sequence[Pixels] | Pixels, labels: Labels | None, seed: int, verify_share: float = VERIFY_SHARE
) -> Split:
    """Split images (N, ...) at random, the same way for the same seed and content.

    `labels` (N,) stratify; hand in predictions, or None, where there are none. Identical images
    stay together. Below 30 distinct images the split is cross-fitted in 3 folds. Every class of
    two or more distinct images has at least one on each side of a held-out split; classes with
    only one are pooled and held out like one class, and a lone one goes to work.
    """
    if labels is not None and len(labels) != len(images):
        raise InputError(f"There are {len(labels)} labels for {len(images)} images.", "Give one label an image.")
    if not 0 < verify_share < 1:
        raise InputError(f"A verify share of {verify_share} leaves one side empty.", "Give one between 0 and 1.")
    groups = _identical(images)
    strata = _strata(groups, labels, np.random.default_rng(seed))
    notices = _duplicate_notices(groups, labels) + _scarcity_notices(labels)
    if len(groups) >= HELD_OUT_FROM:
        return _held_out(strata, verify_share, notices)
    return _cross_fitted(strata, len(images), min(FOLDS, len(groups)), notices)


def within_work(images: Sequence[Pixels] | Pixels, labels: Labels, outer: Split, seed: int) -> tuple[Labels, Labels]:
    """The work images (indices into all) that a search sees, and those that confirm what it finds."""
    work = np.asarray(outer.work)
    inner = split([images[i] for i in work], labels[work], seed + 1, verify_share=CONFIRM_SHARE)
    fit, hold = inner.folds[0] if inner.folds else (np.arange(len(work)), np.arange(0))
    return work[fit], work[hold]


Group = list[int]


def _identical(images: Sequence[Pixels] | Pixels) -> list[Group]:
    """Indices of images whose shape and pixels are the same, in order of first appearance."""
    groups: dict[bytes, Group] = {}
    for index, pixels in enumerate(images):
        digest = hashlib.sha256(f"{pixels.shape}{pixels.dtype}".encode())
        digest.update(np.ascontiguousarray(pixels).data)
        groups.setdefault(digest.digest(), []).append(index)
    return list(groups.values())


def _strata(groups: list[Group], labels: Labels | None, generator: np.random.Generator) -> list[list[Group]]:
    """The groups of each class in random order, by class; a group has the label of its first image.

    Classes of one group are pooled: else a set with one image a class would hold nothing out.
    """
    by_class: dict[int, list[Group]] = defaultdict(list)
    for group in groups:
        by_class[0 if labels is None else int(labels[group[0]])].append(group)
    members_by_class = [members for _, members in sorted(by_class.items())]
    pool = [members[0] for members in members_by_class if len(members) == 1]
    strata = [members for members in members_by_class if len(members) > 1] + ([pool] if pool else [])
    return [[members[i] for i in generator.permutation(len(members))] for members in strata]


def _held_out(strata: list[list[Group]], share: float, notices: list[str]) -> Split:
    counts = _verify_counts([len(stratum) for stratum in strata], share)
    verify = _indices(group for stratum, count in zip(strata, counts, strict=True) for group in stratum[:count])
    work = _indices(group for stratum, count in zip(strata, counts, strict=True) for group in stratum[count:])
    return Split(work, verify, "held_out", [(work, verify)], notices)


def _verify_counts(sizes: list[int], share: float) -> list[int]:
    """How many groups of each class are held out: the share by largest remainder, within
    at least one where a class has two, and at least one left for work."""
    most = [size - 1 for size in sizes]
    counts = [min(high, max(1, int(share * size))) for size, high in zip(sizes, most, strict=True)]
    wanted = round(share * sum(sizes))
    while sum(counts) < wanted:
        lack, position = max(
            (share * size - count if count < high else -np.inf, -i)
            for i, (size, count, high) in enumerate(zip(sizes, counts, most, strict=True))
        )
        if lack == -np.inf:
            break
        counts[-position] += 1
    return counts


def _cross_fitted(strata: list[list[Group]], count: int, folds: int, notices: list[str]) -> Split:
    """Deal the groups class by class into folds, so that each fold has its share of every class."""
    everything = np.arange(count, dtype=np.int64)
    if folds < 2:
        notices = [*notices, "There are fewer than two distinct images, so nothing can be held out for verification."]
        return Split(everything, everything[:0], "cross_fitted", [], notices)
    dealt = [group for stratum in strata for group in stratum]
    parts = [_indices(dealt[fold::folds]) for fold in range(folds)]
    pairs = [(np.setdiff1d(everything, part), part) for part in parts]
    notices = [*notices, f"Fewer than {HELD_OUT_FROM} distinct images: verification is cross-fitted in {folds} folds."]
    return Split(everything, everything, "cross_fitted", pairs, notices)


def _indices(groups: Iterable[Group]) -> Labels:
    return np.array(sorted(index for group in groups for index in group), dtype=np.int64)


def _duplicate_notices(groups: list[Group], labels: Labels | None) -> list[str]:
    repeated = [group for group in groups if len(group) > 1]
    notices = []
    if repeated:
        copies = sum(len(group) - 1 for group in repeated)
        notices.append(f"{copies} image(s) are copies of others; copies stay on one side of the split.")
    if labels is not None and any(len(set(labels[group].tolist())) > 1 for group in repeated):
        notices.append("Some identical images have different labels: at least one of those labels is wrong.")
    return notices


def _scarcity_notices(labels: Labels | None) -> list[str]:
    if labels is None:
        return []
    few = [f"{label} ({count})" for label, count in sorted(Counter(labels.tolist()).items()) if count < FEW_A_CLASS]
    if not few:
        return []
    shown = ", ".join(few[:10]) + (f" and {len(few) - 10} more" if len(few) > 10 else "")
    return [f"Fewer than {FEW_A_CLASS} images in class {shown}: what is said of these classes is uncertain."]
