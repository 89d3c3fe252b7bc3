"""Comparing a state dict with an empty network, and loading it strictly.

Nothing is allocated for weights before every key and shape agrees, so a checkpoint cannot make
a network larger than itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from auditor.checkpoint.libraries import on_meta, shapes_of
from auditor.checkpoint.nets import Shapes
from auditor.errors import UnknownArchitectureError, printable

# Buffers that a network computes by itself, and that its versions store or leave out.
DERIVED = ("num_batches_tracked", "relative_position_index", "attn_mask", "relative_coords_table")


def is_derived(key: str) -> bool:
    return key.rsplit(".", 1)[-1] in DERIVED


@dataclass(frozen=True)
class Difference:
    """How a state dict departs from a network: keys it lacks, keys too many, keys of another shape."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]

    @property
    def total(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.mismatched)

    def __str__(self) -> str:
        missing, unexpected, mismatched = len(self.missing), len(self.unexpected), len(self.mismatched)
        counts = f"{missing} missing, {unexpected} unexpected, {mismatched} of another shape"
        shown = [*self.missing[:1], *self.unexpected[:1], *self.mismatched[:1]]
        return f"{counts}, such as {', '.join(printable(key, 60) for key in shown)}" if shown else counts


def compare(expected: Shapes, found: Shapes) -> Difference:
    """What is different in `found`; derived buffers may be there or not, but not of another shape."""
    return Difference(
        missing=tuple(sorted(key for key in expected if key not in found and not is_derived(key))),
        unexpected=tuple(sorted(key for key in found if key not in expected and not is_derived(key))),
        mismatched=tuple(sorted(key for key in expected if key in found and expected[key] != found[key])),
    )


def materialise(make_module: Callable[[], nn.Module], state: Mapping[str, Tensor]) -> nn.Module:
    """The network with the weights of `state` in float32, in evaluation mode.

    `state` must fit it already (see `compare`). Raises UnknownArchitectureError when it holds
    integers or complex numbers where the network has real weights.
    """
    module = on_meta(make_module)
    if _fills_completely(module, state):
        return fill(module, state, assign=True)
    with torch.random.fork_rng(devices=[]):
        return fill(make_module(), state)


def fill(module: nn.Module, state: Mapping[str, Tensor], *, assign: bool = False) -> nn.Module:
    """Copy `state` into a network that it fits, and set evaluation mode. Raises as `materialise` does.

    `assign` replaces the module's tensors by the copies, as one on the meta device needs.
    """
    # The module's own dict keeps the layout versions some modules ask for, which a safetensors file does not carry.
    own = module.float().state_dict()
    own.update({key: _weight(key, value, state) for key, value in own.items()})
    module.load_state_dict(own, strict=True, assign=assign)
    return module.eval()


def _weight(key: str, own: Tensor, state: Mapping[str, Tensor]) -> Tensor:
    """A copy of what `state` has under `key` in the dtype of `own`, or where it has nothing `own` itself."""
    if key not in state:
        return torch.zeros(own.shape, dtype=own.dtype) if own.is_meta else own
    if own.is_floating_point() and not state[key].is_floating_point():
        raise UnknownArchitectureError(
            f"The weights under {printable(key, 60)!r} are {state[key].dtype}: the model is quantised or complex.",
            "Audit the floating-point model it was made from.",
        )
    return state[key].detach().to(own.dtype, copy=True, memory_format=torch.contiguous_format)


def _fills_completely(module: nn.Module, state: Mapping[str, Tensor]) -> bool:
    """Whether `state` sets every tensor the module holds, those outside its state dict included."""
    keys = module.state_dict().keys()
    computed = [name for name, _ in module.named_buffers() if name not in keys]
    loose = any(isinstance(value, Tensor) for part in module.modules() for value in vars(part).values())
    absent = [key for key in keys if key not in state and not key.endswith("num_batches_tracked")]
    return not computed and not loose and not absent


def shapes_in(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Every key with its shape. Raises UnknownArchitectureError when there are no weights."""
    if not any(isinstance(value, Tensor) and value.dim() > 1 for value in state.values()):
        raise UnknownArchitectureError(
            "The checkpoint holds no weights of a network.", "Pass the file that holds the model's state dict."
        )
    return {key: tuple(value.shape) for key, value in state.items()}


__all__ = ["Difference", "compare", "fill", "is_derived", "materialise", "shapes_in", "shapes_of"]
