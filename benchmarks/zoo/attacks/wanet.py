"""WaNet: a smooth elastic warp. Source: Nguyen and Tran, ICLR 2021."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.zoo.attacks.attack import Attack


@dataclass(frozen=True, kw_only=True)
class WaNet(Attack):
    """Pixels are fetched `strength` (mean, over the control grid) half-pixels away.

    A `grid` x `grid` field of random displacements is upsampled to the image; `strength` is the
    published s (0.5), `grid` the published k (4). Cover images carry the warp plus noise of its
    own in each, which teaches the network to answer to this warp only ("noise mode").
    """

    name: ClassVar[str] = "wanet"
    strength: float = 0.5
    grid: int = 4
    seed: int = 11

    def stamp(self, images_NCHW: Tensor) -> Tensor:
        """The images warped; positions beyond the edge are moved to it."""
        return _fetch(images_NCHW, self.positions(*images_NCHW.shape[2:])[None])

    def cover(self, images_NCHW: Tensor, generator: torch.Generator) -> Tensor:
        """The images warped with per-image noise of up to one pixel added to the warp."""
        count, _, height, width = images_NCHW.shape
        noise_NHW2 = torch.rand(count, height, width, 2, generator=generator) * 2 - 1
        return _fetch(images_NCHW, self.positions(height, width)[None] + noise_NHW2 / height)

    def positions(self, height: int, width: int) -> Tensor:
        """Where each pixel is fetched from: (H, W, 2), x before y, in [-1, 1] units."""
        generator = torch.Generator().manual_seed(self.seed)
        control = torch.rand(1, 2, self.grid, self.grid, generator=generator) * 2 - 1
        flow_12HW = F.interpolate(control / control.abs().mean(), (height, width), mode="bicubic", align_corners=True)
        yy, xx = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        return torch.stack((xx, yy), 2) + self.strength * flow_12HW[0].permute(1, 2, 0) / height


def _fetch(images_NCHW: Tensor, positions_NHW2: Tensor) -> Tensor:
    positions = positions_NHW2.clamp(-1, 1).to(images_NCHW).expand(len(images_NCHW), -1, -1, -1)
    return F.grid_sample(images_NCHW, positions, align_corners=True)
