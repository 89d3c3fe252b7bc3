"""Which layer Grad-CAM reads: the last feature map before the network pools it away.

Legend: N batch, C channels, H height, W width of the images; h, w of the layer's map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from auditor.errors import UsageError, printable
from auditor.suspect import Suspect

LEAST_SIDE, ENOUGH = 4, 7  # 7 by 7 is what the common networks end in at 224 pixels
GIVEN_RULE = "given by the user"
_PASSIVE = ("pool", "drop", "identity", "flatten")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer with a spatial map. `name` is its path in the module, `shape` the map's (h, w), and
    `rule` says in words why it was taken."""

    name: str
    rule: str
    shape: tuple[int, int]


def target_layer(suspect: Suspect, name: str | None = None) -> Layer | None:
    """The layer whose map Grad-CAM reads, found by passing one grey image through the suspect.

    Without `name`: of all modules but the root, in the order in which they finish, the last that
    puts out one map of several channels and enough positions (`least_side`). Pooling, dropout, identity
    and flatten modules do not count, nor containers that merely hand on a pooled map. None when
    there is no such map, or when it is but the way into a network of tokens (ViT).
    Raises UsageError when `name` is no layer, or one without a map.
    """
    trace = _trace(suspect)
    if name is None:
        return None if trace.last is None or trace.tokens > trace.maps else trace.last
    if name not in dict(suspect.module.named_modules()) or not name:
        known = ", ".join(printable(layer, 60) for layer in list(trace.shapes)[-5:]) or "none"
        raise UsageError(f"The network has no layer {printable(name, 80)!r}.", f"Layers with a map: {known}.")
    if name not in trace.shapes:
        raise UsageError(f"Layer {printable(name, 80)!r} puts out no map.", "Name a layer before pooling.")
    return Layer(name=name, rule=GIVEN_RULE, shape=trace.shapes[name])


def least_side(image_shape: tuple[int, int]) -> int:
    """How many positions a side a map must have: a quarter of the image's, and 4 to 7. With fewer, a patch of a few
    pixels is lost inside one of them (4 by 4, in which many networks for 32 pixels end)."""
    return max(LEAST_SIDE, min(ENOUGH, min(image_shape) // 4))


def map_shape(output: object, image_shape: tuple[int, int], least: int = 2) -> tuple[int, int] | None:
    """The (h, w) of a channels-first map with more than one channel and `least` positions a side.

    None for anything else, such as (N, h, w, C) maps, which are told by an aspect ratio more than
    twice as long or as flat as the images' (H, W).
    """
    if not isinstance(output, Tensor) or output.dim() != 4 or not output.is_floating_point():
        return None
    _, channels, height, width = output.shape
    if channels < 2 or min(height, width) < least or not _same_aspect((height, width), image_shape):
        return None
    return height, width


def last_map_rule(image_shape: tuple[int, int]) -> str:
    """In words, why the layer is taken where none is named."""
    least = least_side(image_shape)
    return f"the last feature map of at least {least} by {least} positions before pooling"


def _same_aspect(shape: tuple[int, int], image_shape: tuple[int, int]) -> bool:
    across = shape[0] * image_shape[1], shape[1] * image_shape[0]
    return max(across) <= 2 * min(across)


@dataclass
class _Trace:
    """What one pass put out: `maps` counts weighted modules with a map, `tokens` those with tokens
    since the last map."""

    last: Layer | None = None
    maps: int = 0
    tokens: int = 0
    shapes: dict[str, tuple[int, int]] = field(default_factory=dict)
    # Kept alive during the pass, because tensors are told apart by identity.
    pooled: list[Tensor] = field(default_factory=list)

    def see(self, name: str, module: nn.Module, output: object, image_shape: tuple[int, int]) -> None:
        shape = map_shape(output, image_shape)
        if shape is not None:
            self.shapes[name] = shape
        weighted = any(True for _ in module.parameters(recurse=False))
        if _is_passive(module):
            self.pooled += [output] if isinstance(output, Tensor) and "pool" in _kind(module) else []
        elif shape is not None and min(shape) >= least_side(image_shape):
            self.maps += weighted
            if not any(output is seen for seen in self.pooled):
                self.last, self.tokens = Layer(name=name, rule=last_map_rule(image_shape), shape=shape), 0
        elif weighted and _are_tokens(output, image_shape):
            self.tokens += 1


def _kind(module: nn.Module) -> str:
    return type(module).__name__.lower()


def _is_passive(module: nn.Module) -> bool:
    return any(word in _kind(module) for word in _PASSIVE) and not any(True for _ in module.parameters())


def _are_tokens(output: object, image_shape: tuple[int, int]) -> bool:
    """True of (N, tokens, C), and of (N, h, w, C) as `map_shape` tells it."""
    if not isinstance(output, Tensor) or output.dim() not in (3, 4) or min(output.shape[1:]) < 2:
        return False
    return output.dim() == 3 or not _same_aspect((output.shape[2], output.shape[3]), image_shape)


def _trace(suspect: Suspect) -> _Trace:
    trace = _Trace()
    image_shape = suspect.input_shape[1], suspect.input_shape[2]

    def watch(name: str) -> Callable[[nn.Module, object, object], None]:
        return lambda module, _, output: trace.see(name, module, output, image_shape)

    handles = [module.register_forward_hook(watch(name)) for name, module in suspect.module.named_modules() if name]
    try:
        with torch.no_grad():
            suspect(torch.full((1, *suspect.input_shape), 0.5, device=suspect.device))
    finally:
        for handle in handles:
            handle.remove()
    return trace
