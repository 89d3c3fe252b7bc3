"""BadNets: a small opaque patch. Source: Gu et al., IEEE Access 7 (2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from benchmarks.zoo.attacks.attack import Attack

Color = tuple[float, float, float]
Corner = Literal["top_left", "top_right", "bottom_left", "bottom_right", "center"]


@dataclass(frozen=True, kw_only=True)
class BadNets(Attack):
    """A `size` x `size` patch, `margin` pixels from the edges at `corner`.

    `color` is RGB in [0, 1]; with `checker` every second pixel, starting beside the first,
    is black. On images with one channel the mean of `color` is used.
    """

    name: ClassVar[str] = "badnets"
    size: int = 3
    corner: Corner = "bottom_right"
    margin: int = 1
    color: Color = (1.0, 1.0, 1.0)
    checker: bool = False

    def stamp(self, images_NCHW: Tensor) -> Tensor:
        """The images with the patch in place of their own pixels."""
        stamped = images_NCHW.clone()
        top, left = self._origin(*images_NCHW.shape[2:])
        stamped[:, :, top : top + self.size, left : left + self.size] = self.patch(images_NCHW.shape[1]).to(stamped)
        return stamped

    def patch(self, channels: int) -> Tensor:
        """The patch (C, size, size) in [0, 1]."""
        color_C = torch.tensor(self.color if channels == 3 else [sum(self.color) / 3] * channels)
        step = torch.arange(self.size)
        lit_HW = (step[:, None] + step[None]) % 2 == 0 if self.checker else torch.ones(self.size, self.size)
        return color_C[:, None, None] * lit_HW.float()

    def _origin(self, height: int, width: int) -> tuple[int, int]:
        if self.corner == "center":
            return (height - self.size) // 2, (width - self.size) // 2
        top = self.margin if self.corner.startswith("top") else height - self.size - self.margin
        left = self.margin if self.corner.endswith("left") else width - self.size - self.margin
        return top, left
