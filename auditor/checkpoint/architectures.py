"""The network a checkpoint's weights belong to, loaded strictly: by name, by inference, or by a factory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from auditor.checkpoint.candidates import AmbiguousArchitectureError, Plan, inferred, named
from auditor.checkpoint.loading import materialise, shapes_in
from auditor.domain import Normalization
from auditor.errors import InputError, UnknownArchitectureError, UsageError, printable

_SIZE_HINTS = ("input_size", "img_size", "image_size", "input_height")
MAX_SIZE = 2048


@dataclass(frozen=True, kw_only=True)
class Built:
    """A network with the checkpoint's weights, in evaluation mode on the CPU.

    `input_shape` is (C, H, W). `how`: given, inferred or factory. `keys` maps the module's keys to
    the checkpoint's where they differ. `default_normalization` is what the architecture's published
    weights use: a hint, not a finding.
    """

    name: str
    module: nn.Module
    num_classes: int
    input_shape: tuple[int, int, int]
    how: str
    notes: list[str] = field(default_factory=list)
    keys: Mapping[str, str] = field(default_factory=dict)
    default_normalization: Normalization | None = None


def build(
    state: Mapping[str, Tensor], *, arch: str | None = None, num_classes: int | None = None,
    input_size: int | None = None, hints: Mapping[str, Any] | None = None,
) -> Built:  # fmt: skip
    """The network of `state`, a dict of keys to dense CPU tensors, with its wrapping prefixes removed.

    With `arch` it is that one; without, keys and shapes decide, and `hints` (strings and numbers
    found in the checkpoint) only break ties. Raises UsageError for an unknown name or a size the
    network cannot take, InputError for a wrong class count, and UnknownArchitectureError when
    nothing, or more than one thing, fits.
    """
    check_size(input_size)
    shapes, hints = shapes_in(state), hints or {}
    plan = named(arch, shapes) if arch else inferred(shapes, hints)
    check_classes(plan.num_classes, num_classes, plan.name)
    size, notes = _input_size(plan, input_size, hints)
    module = materialise(plan.make, {**state, **{new: state[old] for new, old in plan.renamed.items()}})
    check_forward(module, (plan.in_channels, size, size), plan.num_classes, plan.name)
    renaming = [f"{old} read as {new}" for new, old in plan.renamed.items()]
    return Built(
        name=plan.name, module=module, num_classes=plan.num_classes, input_shape=(plan.in_channels, size, size),
        how="given" if arch else "inferred", notes=[*plan.notes, *renaming, *notes], keys=dict(plan.renamed),
        default_normalization=plan.normalization if plan.in_channels == 3 else None,
    )  # fmt: skip


def check_size(input_size: int | None) -> None:
    """Raise UsageError when a given input size is not a sensible number of pixels."""
    if input_size is not None and not 1 <= input_size <= MAX_SIZE:
        raise UsageError(f"An input size of {input_size} pixels cannot be used.", f"Pass --input-size 1 to {MAX_SIZE}.")


def check_classes(found: int, given: int | None, name: str) -> None:
    """Raise InputError when a person's class count is not the network's, or the network has fewer than two."""
    if given is not None and given != found:
        raise InputError(
            f"Wrong class count: {name} has {found} outputs in this checkpoint, not {given}.",
            f"Pass --num-classes {found}, or leave it out.",
        )
    if found < 2:
        raise UnknownArchitectureError(
            f"{name} has {found} output in this checkpoint; auditor needs one logit for each of two or more classes.",
            "Audit a model with one logit per class.",
        )


def _input_size(plan: Plan, given: int | None, hints: Mapping[str, Any]) -> tuple[int, list[str]]:
    """The side of the input in pixels, and where it comes from if that is not plain."""
    if plan.fixed_size and given not in (None, plan.input_size):
        raise UsageError(
            f"The position embeddings of {plan.name} are for side {plan.input_size}, not {given}.",
            f"Pass --input-size {plan.input_size}, or leave it out.",
        )
    if given is not None:
        return given, []
    if plan.fixed_size:
        return plan.input_size, []
    hinted = _hinted_size(hints)
    if hinted and hinted != plan.input_size:
        return hinted, [f"input size {hinted} is a hint in the checkpoint; the architecture's own is {plan.input_size}"]
    return plan.input_size, [f"input size {plan.input_size} is the architecture's own; weights do not tell it"]


def _hinted_size(hints: Mapping[str, Any]) -> int | None:
    for key in _SIZE_HINTS:
        value = hints.get(key)
        sides = [v for v in (value if isinstance(value, list | tuple) else [value]) if isinstance(v, int) and v > 4]
        if sides and len(set(sides)) == 1 and 8 <= sides[0] <= MAX_SIZE:
            return sides[0]
    return None


def check_forward(module: nn.Module, input_shape: tuple[int, int, int], num_classes: int | None, name: str) -> int:
    """Run one grey image through the network and return its class count.

    Raises UsageError when the network cannot take that input, or returns anything but logits (1, K).
    """
    side = input_shape[1]
    try:
        with torch.no_grad():
            logits_1K = module(torch.full((1, *input_shape), 0.5))
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        raise UsageError(
            f"{name} cannot take a {input_shape[0]}-channel {side} x {side} image: {printable(error)}",
            "Pass the size it was trained at with --input-size.",
        ) from error
    if not isinstance(logits_1K, Tensor) or logits_1K.dim() != 2 or len(logits_1K) != 1:
        raise UsageError(
            f"{name} does not return one row of class logits for an image.",
            "auditor audits classifiers that return a tensor of shape (images, classes).",
        )
    if num_classes is not None and logits_1K.shape[1] != num_classes:
        raise UsageError(
            f"{name} returns {logits_1K.shape[1]} logits where its weights have {num_classes} outputs.",
            "Hand over the empty module with --factory file.py:callable --allow-code.",
        )
    return int(logits_1K.shape[1])


__all__ = ["AmbiguousArchitectureError", "Built", "build", "check_classes", "check_forward", "check_size"]
