"""Input-aware: every image has a trigger of its own. After: Nguyen and Tran, NeurIPS 2020.

A reconstruction: the published pattern and mask come from two generators trained together with
the network; ours are fixed functions of the image, so that the attack's fields are the whole
trigger. What makes the attack is kept: patterns differ from image to image, and cover images carry
the trigger of another image and keep their label ("cross-trigger"), so that a network must learn
whether a trigger fits the image it is on.

Legend: N images, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.zoo.attacks.attack import Attack


@dataclass(frozen=True, kw_only=True)
class InputAware(Attack):
    """x' = (1 - m) x + m p: the share `density` of pixels, as m(x) chooses, takes the colours p(x).

    p is the opposite of the image's colours averaged over `cell` x `cell` pixels, pushed to black or
    white in each channel; m takes the pixels where a random mix of those averages, which `seed`
    draws anew for each pixel, is largest. Published: a mask density of 0.032.
    """

    name: ClassVar[str] = "input_aware"
    density: float = 0.06
    cell: int = 4
    seed: int = 19

    def stamp(self, images_NCHW: Tensor) -> Tensor:
        """The images, each with its own trigger."""
        pattern_NCHW, mask_N1HW = self.trigger(images_NCHW)
        return torch.where(mask_N1HW, pattern_NCHW, images_NCHW)

    def cover(self, images_NCHW: Tensor, generator: torch.Generator) -> Tensor:
        """The images, each with the trigger of the next (the last with the first's)."""
        pattern_NCHW, mask_N1HW = self.trigger(images_NCHW)
        return torch.where(mask_N1HW.roll(1, 0), pattern_NCHW.roll(1, 0), images_NCHW)

    def trigger(self, images_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Pattern (N, C, H, W) of zeros and ones, and mask (N, 1, H, W) of booleans, of each image."""
        _, channels, height, width = images_NCHW.shape
        coarse_NCHW = F.interpolate(F.avg_pool2d(images_NCHW, self.cell), (height, width), mode="nearest")
        generator = torch.Generator().manual_seed(self.seed)
        mix_CHW = torch.randn(channels, height, width, generator=generator).to(images_NCHW)
        score_NP = ((coarse_NCHW - 0.5) * mix_CHW).sum(1).flatten(1)
        count = max(1, round(self.density * height * width))
        chosen_NP = torch.zeros_like(score_NP, dtype=torch.bool).scatter_(1, score_NP.topk(count).indices, True)
        return (coarse_NCHW < 0.5).to(images_NCHW), chosen_NP.view(-1, 1, height, width)
