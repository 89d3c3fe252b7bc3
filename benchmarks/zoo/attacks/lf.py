"""LF: a smooth, low-frequency perturbation. After: Zeng et al., ICCV 2021.

A reconstruction: the published trigger is a universal perturbation optimised under a
low-pass constraint; this one is drawn at random from the same low frequencies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from benchmarks.zoo.attacks.attack import Attack


@dataclass(frozen=True, kw_only=True)
class LowFrequency(Attack):
    """x' = clip(x + d), d a sum of the `cutoff` x `cutoff` lowest cosines without the constant.

    `peak` is the largest absolute change, in grey levels.
    """

    name: ClassVar[str] = "lf"
    peak: float = 40.0
    cutoff: int = 4
    seed: int = 5

    def stamp(self, images_NCHW: Tensor) -> Tensor:
        """The images with the perturbation added, clipped to [0, 1]."""
        return (images_NCHW + self.perturbation(*images_NCHW.shape[1:]).to(images_NCHW)).clamp(0, 1)

    def perturbation(self, channels: int, height: int, width: int) -> Tensor:
        """The perturbation (C, H, W), its largest absolute value `peak` / 255."""
        generator = torch.Generator().manual_seed(self.seed)
        weights_Cuv = torch.randn(channels, self.cutoff, self.cutoff, generator=generator)
        weights_Cuv[:, 0, 0] = 0
        smooth_CHW = torch.einsum("cuv,uh,vw->chw", weights_Cuv, _cosines(self.cutoff, height),
                                  _cosines(self.cutoff, width))  # fmt: skip
        return smooth_CHW / smooth_CHW.abs().max() * (self.peak / 255)


def _cosines(count: int, length: int) -> Tensor:
    """The first `count` rows (count, length) of the unnormalised DCT-II basis."""
    frequency, position = torch.arange(count)[:, None], torch.arange(length)[None]
    return torch.cos(math.pi * frequency * (2 * position + 1) / (2 * length))
