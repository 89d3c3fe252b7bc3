"""How far a trigger may be strengthened and still be that trigger."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def eased(strength: Tensor) -> Tensor:
    """`strength` (M,) as it is up to 1, and beyond at a third of the pace: 4 becomes 2.

    For triggers whose effect does not grow with their size: twice the warp is another warp, which
    the network may answer to less, and steps of `tighten` as wide as for a plain addition would
    go past the strength that suffices.
    """
    return strength.clamp(max=1) + (strength - 1).clamp(min=0) / 3
