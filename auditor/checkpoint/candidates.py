"""Which architectures the keys and shapes of a state dict allow, without building any of them for real.

A plan names one and knows how to build it; every plan returned here fits all keys and shapes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import nn

from auditor.checkpoint import libraries, nets
from auditor.checkpoint.loading import Difference, compare, shapes_of
from auditor.checkpoint.nets import Shapes
from auditor.checkpoint.signatures import index
from auditor.checkpoint.unsupported import unsupported
from auditor.domain import Normalization
from auditor.errors import UnknownArchitectureError, printable

MAX_CLASSES = 65_536
_WRAPPED_HEADS = ("fc", "linear", "classifier", "head")


class AmbiguousArchitectureError(UnknownArchitectureError):
    """More than one architecture has these keys and shapes; `candidates` are their names, likeliest first."""

    kind = "ambiguous_architecture"

    def __init__(self, what: str, next_step: str, candidates: tuple[str, ...]) -> None:
        super().__init__(what, next_step)
        self.candidates = candidates


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A network that fits. `renamed` maps its keys to the checkpoint's where they differ.

    `fixed_size` says that the weights work at `input_size` only.
    """

    name: str
    make: Callable[[], nn.Module]
    num_classes: int
    in_channels: int
    input_size: int
    fixed_size: bool = False
    notes: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    normalization: Normalization | None = None


def named(name: str, shapes: Shapes) -> Plan:
    """The plan for the architecture a person named.

    Raises UsageError for a name that does not exist, UnknownArchitectureError, counting what
    differs, for weights that do not fit it.
    """
    library, model = libraries.check_name(name)
    name = f"{library}:{model}"
    differences = []
    for found, renamed in _readings(shapes):
        plan, difference = _from_nets(model, found) if library == "cifar" else _from_library(name, found)
        if difference.total == 0:
            return replace(plan, renamed=renamed)
        differences.append(difference)
    raise UnknownArchitectureError(f"The weights do not fit {name}: {differences[0]}.", _advice(shapes))


def inferred(shapes: Shapes, hints: Mapping[str, Any]) -> Plan:
    """The one architecture with these keys and shapes; names found in the checkpoint break ties.

    Raises UnknownArchitectureError, with ranked candidates, when there is none or more than one.
    """
    for found, renamed in _readings(shapes):
        plan = _by_signature(found, hints) or _by_structure(found)
        if plan:
            return replace(plan, renamed=renamed)
    if reason := unsupported(shapes):
        raise UnknownArchitectureError(
            f"This is {reason}; auditor audits image classifiers with one image in and class logits out.",
            "If it is a classifier after all, name it with --arch or hand over the empty module with --factory.",
        )
    raise UnknownArchitectureError(f"No known architecture has these {len(shapes)} keys and shapes.", _advice(shapes))


def _readings(shapes: Shapes) -> list[tuple[Shapes, dict[str, str]]]:
    """The keys as they are, then with a head such as `fc.1.weight` (dropout, linear) read as `fc.weight`."""
    readings: list[tuple[Shapes, dict[str, str]]] = [(shapes, {})]
    for head in _WRAPPED_HEADS:
        below = [key for key in shapes if key.startswith(head + ".")]
        matches = [re.fullmatch(rf"{head}\.(\d+)\.(weight|bias)", key) for key in below]
        if below and all(matches) and len({match[1] for match in matches if match}) == 1:
            renamed = {f"{head}.{match[2]}": match[0] for match in matches if match}
            kept = {key: shape for key, shape in shapes.items() if key not in below}
            readings.append(({**kept, **{new: shapes[old] for new, old in renamed.items()}}, renamed))
    return readings


def _by_signature(shapes: Shapes, hints: Mapping[str, Any]) -> Plan | None:
    for match in index().lookup(shapes):
        groups = match.groups if len(match.groups) == 1 else _hinted(match.groups, hints)
        if len(groups) > 1:
            names = tuple(group[0] for group in groups)
            raise AmbiguousArchitectureError(
                f"{len(names)} different architectures have these keys and shapes: {', '.join(names)}.",
                f"Add --arch {names[0]} if that is the one, or another of them.", names,
            )  # fmt: skip
        plan, difference = _from_library(groups[0][0], shapes)
        if difference.total == 0:
            return replace(plan, notes=(*plan.notes, *_why(groups[0], len(match.groups) > 1)))
    return None


def _why(group: tuple[str, ...], hinted: bool) -> list[str]:
    notes = []
    if len(group) > 1:
        others = ", ".join(group[1:4]) + (" and others" if len(group) > 4 else "")
        notes.append(f"{group[0]} computes the same function as {others}, so which of them it is does not matter")
    if hinted:
        notes.append(f"a name in the checkpoint chose {group[0]} among architectures with the same keys and shapes")
    return notes


def _hinted(groups: tuple[tuple[str, ...], ...], hints: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    """The groups that the checkpoint's own strings name, or all when they name none."""
    said = {_plain(value) for value in hints.values() if isinstance(value, str) and len(value) < 100}
    chosen = tuple(group for group in groups if any(_plain(name.split(":")[1]) in said for name in group))
    return chosen or groups


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.rpartition(":")[2].split(".")[0].lower())


def _by_structure(shapes: Shapes) -> Plan | None:
    fits = [proposal for proposal in nets.propose(shapes) if _difference(proposal.make, shapes).total == 0]
    if len(fits) > 1:
        names = tuple(f"cifar:{proposal.name}" for proposal in fits)
        raise AmbiguousArchitectureError(
            f"{len(names)} architectures have these keys and shapes: {', '.join(names)}.",
            f"Add --arch {names[0]} if that is the one.", names,
        )  # fmt: skip
    return _plan(fits[0]) if fits else None


def _plan(proposal: nets.Proposal) -> Plan:
    return Plan(name=f"cifar:{proposal.name}", make=proposal.make, num_classes=proposal.num_classes,
                in_channels=proposal.in_channels, input_size=proposal.input_size, notes=proposal.notes)  # fmt: skip


def _from_nets(model: str, shapes: Shapes) -> tuple[Plan, Difference]:
    """Our network of that name at the widths of the weights, else at its usual ones, and what differs."""
    for proposal in nets.propose(shapes):
        difference = _difference(proposal.make, shapes)
        if proposal.name == model and difference.total == 0:
            return _plan(proposal), difference
    make = partial(nets.create, model, _classes(shapes, ("linear.weight", "fc.weight", "classifier.weight")))
    plan = Plan(name=f"cifar:{model}", make=make, num_classes=0, in_channels=3, input_size=32)
    return plan, _difference(make, shapes)


def _from_library(name: str, shapes: Shapes) -> tuple[Plan, Difference]:
    """The library's network with the classes, channels and image size of the weights, and what differs."""
    heads, stem = index().layout_of(name) or libraries.layout(name)
    num_classes = _classes(shapes, heads)
    in_channels = next((shapes[key][1] for key in stem if len(shapes.get(key, ())) == 4), 3)
    make = partial(libraries.make, name, num_classes, min(max(in_channels, 1), 1024),
                   auxiliary=libraries.has_auxiliary(name, shapes))  # fmt: skip
    module = libraries.on_meta(make)
    size, fixed = libraries.default_size(name, module), False
    if any(key in shapes for key in libraries.POSITION_KEYS):
        size, fixed = _position_size(module, size, shapes), True
        make = partial(make, image_size=size)
        module = libraries.on_meta(make)
    plan = Plan(
        name=name, make=make, num_classes=num_classes, in_channels=in_channels, input_size=size, fixed_size=fixed,
        notes=libraries.notes(name), normalization=libraries.default_normalization(name, module),
    )  # fmt: skip
    return plan, compare(shapes_of(module), shapes)


def _position_size(module: nn.Module, default: int, shapes: Shapes) -> int:
    """The image size the position embeddings were made for; `default` where they do not tell."""
    own = shapes_of(module)
    patch = next((own[key][-1] for key in ("patch_embed.proj.weight", "conv_proj.weight") if key in own), 0)
    for key in libraries.POSITION_KEYS:
        if key in own and len(own[key]) == len(shapes.get(key, ())) == 3 and patch:
            prefix = own[key][1] - (default // patch) ** 2
            side = round(math.sqrt(max(0, shapes[key][1] - prefix)))
            if side * side + prefix == shapes[key][1] and 0 < side * patch <= 4096:
                return side * patch
    return default


def _classes(shapes: Shapes, heads: tuple[str, ...]) -> int:
    found = next((shapes[key][0] for key in heads if shapes.get(key)), 1000)
    if found > MAX_CLASSES:
        raise UnknownArchitectureError(
            f"The last layer has {found} outputs; auditor audits at most {MAX_CLASSES} classes.",
            "Check that the file is an image classifier.",
        )
    return max(found, 1)


def _difference(make: Callable[[], nn.Module], shapes: Shapes) -> Difference:
    return compare(shapes_of(libraries.on_meta(make)), shapes)


def nearest(shapes: Shapes, count: int = 3) -> list[tuple[str, Difference]]:
    """The architectures that differ least from these weights; only those that share half of the keys."""
    found = [(f"cifar:{proposal.name}", _difference(proposal.make, shapes)) for proposal in nets.propose(shapes)]
    found += [(name, _from_library(name, shapes)[1]) for name in index().nearest(shapes, count)]
    close = [item for item in found if len(item[1].unexpected) * 2 < len(shapes)]
    return sorted(close, key=lambda item: item[1].total)[:count]


def _advice(shapes: Shapes) -> str:
    close = nearest(shapes)
    hand_over = "hand over the empty module with --factory file.py:callable --allow-code"
    if not close:
        sample = ", ".join(printable(key, 60) for key in sorted(shapes)[:3])
        return f"Nothing known is close (keys such as {sample}). Name it with --arch, or {hand_over}."
    if close[0][1].total == 0:
        return f"They fit {close[0][0]}: pass --arch {close[0][0]}, or leave --arch out."
    lines = "; ".join(f"{name} ({difference})" for name, difference in close)
    return f"Nearest: {lines}. Name another with --arch, or {hand_over}."
