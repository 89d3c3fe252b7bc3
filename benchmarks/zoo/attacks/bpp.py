"""BPP: fewer colours, dithered. Source: Wang et al., BppAttack, CVPR 2022."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from benchmarks.zoo.attacks.attack import Attack

# Floyd-Steinberg: rows and columns ahead, and the share of the rounding error each is given.
DIFFUSION = ((0, 1, 7 / 16), (1, -1, 3 / 16), (1, 0, 5 / 16), (1, 1, 1 / 16))


@dataclass(frozen=True, kw_only=True)
class Bpp(Attack):
    """Every channel rounded to `levels` values (published: 8), with Floyd-Steinberg `dither`ing.

    Cover images carry the rounding residual of another image, mirrored.
    """

    name: ClassVar[str] = "bpp"
    levels: int = 8
    dither: bool = True

    def stamp(self, images_NCHW: Tensor) -> Tensor:
        """The images with `levels` values a channel, evenly spaced over [0, 1]."""
        if not self.dither:
            return self._round(images_NCHW)
        _, _, height, width = images_NCHW.shape
        padded = torch.nn.functional.pad(images_NCHW, (1, 1, 0, 1))
        for row in range(height):
            for column in range(1, width + 1):
                wanted_NC = padded[:, :, row, column].clone()
                padded[:, :, row, column] = self._round(wanted_NC)
                error_NC = wanted_NC - padded[:, :, row, column]
                for down, right, share in DIFFUSION:
                    padded[:, :, row + down, column + right] += share * error_NC
        return padded[:, :, :height, 1 : width + 1].contiguous()

    def cover(self, images_NCHW: Tensor, generator: torch.Generator) -> Tensor:
        """The images with the next image's residual, mirrored, added and clipped."""
        residual_NCHW = (self.stamp(images_NCHW) - images_NCHW).roll(1, 0).flip(3)
        return (images_NCHW + residual_NCHW).clamp(0, 1)

    def _round(self, values: Tensor) -> Tensor:
        return (values * (self.levels - 1)).round().clamp(0, self.levels - 1) / (self.levels - 1)
