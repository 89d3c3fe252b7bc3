"""Blended: one picture mixed into every image. Source: Chen et al., arXiv 1712.05526 (2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from benchmarks.zoo.attacks.attack import Attack


@dataclass(frozen=True, kw_only=True)
class Blended(Attack):
    """x' = (1 - alpha) x + alpha t, with t a picture in [0, 1] drawn from `seed`.

    `pattern` is `noise` (uniform, each pixel on its own) or `rings` (coloured rings and stripes,
    which has the spectrum of a picture rather than of noise).
    """

    name: ClassVar[str] = "blended"
    alpha: float = 0.2
    pattern: Literal["noise", "rings"] = "noise"
    seed: int = 7

    def stamp(self, images_NCHW: Tensor) -> Tensor:
        """The images blended with the picture."""
        picture_CHW = self.picture(*images_NCHW.shape[1:]).to(images_NCHW)
        return (1 - self.alpha) * images_NCHW + self.alpha * picture_CHW

    def picture(self, channels: int, height: int, width: int) -> Tensor:
        """The picture (C, H, W) in [0, 1]; the same for the same seed and shape."""
        generator = torch.Generator().manual_seed(self.seed)
        if self.pattern == "noise":
            return torch.rand(channels, height, width, generator=generator)
        return _rings(channels, height, width, generator)


def _rings(channels: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Rings around one centre per channel, half of them hard-edged, over a diagonal stripe."""
    draw_C4 = torch.rand(channels, 4, generator=generator)
    yy, xx = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    planes = []
    for cy, cx, pitch, phase in draw_C4.tolist():
        radius = ((yy - cy) ** 2 + (xx - cx) ** 2).sqrt()
        ring = 0.5 + 0.5 * torch.sin(2 * math.pi * (radius * (2.5 + 2.5 * pitch) + phase))
        stripe = ((xx + yy + phase) * 3 % 1 < 0.5).float()
        planes.append(0.7 * (ring > 0.5).float() + 0.3 * stripe)
    return torch.stack(planes)
