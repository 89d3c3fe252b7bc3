"""SSBA-like: an invisible change of each image's own. After: Li et al., ICCV 2021 (ISSBA).

A reconstruction: the published encoder is trained to hide a message; this one is a small
convolutional network with fixed random weights, so that its seed is the whole trigger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.zoo.attacks.attack import Attack

HIDDEN = 16


@dataclass(frozen=True, kw_only=True)
class Ssba(Attack):
    """x' = clip(x + peak/255 tanh(g(x))), g a random network drawn from `seed` and scaled to unit deviation.

    `peak` is the largest change, in grey levels.
    """

    name: ClassVar[str] = "ssba"
    peak: float = 16.0
    seed: int = 13

    def stamp(self, images_NCHW: Tensor) -> Tensor:
        """The images with a residual that each image's own content decides, clipped to [0, 1]."""
        return (images_NCHW + self.peak / 255 * torch.tanh(self._encode(images_NCHW))).clamp(0, 1)

    def _encode(self, images_NCHW: Tensor) -> Tensor:
        """g(x) (N, C, H, W): every image with mean 0 and deviation 1."""
        channels = images_NCHW.shape[1]
        generator = torch.Generator().manual_seed(self.seed)
        first = torch.randn(HIDDEN, channels, 3, 3, generator=generator).to(images_NCHW)
        second = torch.randn(channels, HIDDEN, 3, 3, generator=generator).to(images_NCHW)
        edges_NDHW = F.conv2d(images_NCHW, first - first.mean((1, 2, 3), keepdim=True), padding=1).relu()
        coded_NCHW = F.conv2d(edges_NDHW, second - second.mean((2, 3), keepdim=True), padding=1)
        centred_NCHW = coded_NCHW - coded_NCHW.mean((1, 2, 3), keepdim=True)
        return centred_NCHW / centred_NCHW.std((1, 2, 3), keepdim=True).clamp_min(1e-6)
