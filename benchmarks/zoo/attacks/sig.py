"""SIG: a horizontal sinusoid over the whole image. Source: Barni et al., ICIP 2019."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from benchmarks.zoo.attacks.attack import Attack


@dataclass(frozen=True, kw_only=True)
class Sig(Attack):
    """x' = clip(x + delta/255 sin(2 pi j f / W)), j the column.

    `delta` is in grey levels (published: 40) and `frequency` in periods a width (published: 6).
    The published attack is `clean_label`; without it the labels are changed too.
    """

    name: ClassVar[str] = "sig"
    delta: float = 40.0
    frequency: float = 6.0

    def stamp(self, images_NCHW: Tensor) -> Tensor:
        """The images with the sinusoid added, clipped to [0, 1]."""
        width = images_NCHW.shape[3]
        wave_W = self.delta / 255 * torch.sin(2 * math.pi * self.frequency * torch.arange(width) / width)
        return (images_NCHW + wave_W.to(images_NCHW)).clamp(0, 1)
