"""Reading a network's shape off its weights: the proposal a family makes, and what it reads with.

`Shapes` maps each key of a state dict to its tensor's shape. A proposal is only a guess that
costs no memory; whoever takes it compares every key and shape on the meta device first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

Shapes = Mapping[str, tuple[int, ...]]
# No real network has more; a hostile key list must not make us build thousands of layers.
MAX_BLOCKS, MAX_STAGES = 256, 8


class NoFit(Exception):
    """The keys or shapes do not belong to this family."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A network that may fit. `make` builds it with untrained weights on the current device."""

    name: str
    make: Callable[[], nn.Module]
    num_classes: int
    in_channels: int
    input_size: int
    notes: tuple[str, ...] = ()


def shape_of(shapes: Shapes, key: str, rank: int) -> tuple[int, ...]:
    """The shape under `key`. Raises NoFit when it is absent, of another rank, or has an empty side."""
    shape = shapes.get(key)
    if shape is None or len(shape) != rank or min(shape) < 1:
        raise NoFit(key)
    return shape


def children(shapes: Shapes, prefix: str) -> list[int]:
    """The sorted numeric names directly below `prefix.`, such as the blocks of `layer1`.

    Names of more than six digits or with leading zeros raise NoFit: no real network has them.
    """
    start = prefix + "."
    names = {key[len(start) :].split(".", 1)[0] for key in shapes if key.startswith(start)}
    if not all(name.isdecimal() and name.isascii() and len(name) <= 6 and str(int(name)) == name for name in names):
        raise NoFit(prefix)
    return sorted(int(name) for name in names)


def block_count(shapes: Shapes, prefix: str) -> int:
    """How many consecutive blocks 0..n-1 lie below `prefix.`. Raises NoFit for none, gaps or over MAX_BLOCKS."""
    found = children(shapes, prefix)
    if not 0 < len(found) <= MAX_BLOCKS or found != list(range(len(found))):
        raise NoFit(prefix)
    return len(found)


def stage_names(shapes: Shapes, stem: str) -> list[str]:
    """`layer1`, `layer2`, ... as far as they go, for `stem` "layer". Raises NoFit for one or over MAX_STAGES."""
    tops = {key.split(".", 1)[0] for key in shapes}
    names: list[str] = []
    while f"{stem}{len(names) + 1}" in tops:
        names.append(f"{stem}{len(names) + 1}")
    if not 2 <= len(names) <= MAX_STAGES:
        raise NoFit(stem)
    return names


def first_of(shapes: Shapes, *prefixes: str) -> str:
    """The first of `prefixes` that has a weight. Raises NoFit when none has."""
    for prefix in prefixes:
        if f"{prefix}.weight" in shapes:
            return prefix
    raise NoFit(" or ".join(prefixes))


def pool_side(features: int, channels: int) -> int:
    """P such that a head with `features` inputs follows `channels` maps of P x P. Raises NoFit for none."""
    side = round(math.sqrt(features / channels))
    if side < 1 or channels * side * side != features:
        raise NoFit("head")
    return side
