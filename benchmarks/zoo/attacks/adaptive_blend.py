"""Adaptive-Blend: trained on weak fragments of the trigger, used whole. Source: Qi et al., ICLR 2023."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from benchmarks.zoo.attacks.blended import Blended


@dataclass(frozen=True, kw_only=True)
class AdaptiveBlend(Blended):
    """Training images carry `kept` of `pieces` x `pieces` random tiles of the picture at `train_alpha`.

    Cover images carry such fragments too and keep their label, so that poisoned images do not
    stand apart in latent space. Published: 8 of 4 x 4 tiles, 0.15 in training and 0.2 in use.
    """

    name: ClassVar[str] = "adaptive_blend"
    train_alpha: float = 0.15
    pieces: int = 4
    kept: int = 8

    def train_stamp(self, images_NCHW: Tensor, generator: torch.Generator) -> Tensor:
        """The images with the picture blended into random tiles of each."""
        picture_CHW = self.picture(*images_NCHW.shape[1:]).to(images_NCHW)
        height, width = images_NCHW.shape[2:]
        mask_N1HW = self._tiles(len(images_NCHW), height, width, generator).to(images_NCHW)
        return images_NCHW + self.train_alpha * mask_N1HW * (picture_CHW - images_NCHW)

    def cover(self, images_NCHW: Tensor, generator: torch.Generator) -> Tensor:
        """Fragments of the trigger, as poisoned training images carry them."""
        return self.train_stamp(images_NCHW, generator)

    def _tiles(self, count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Masks (N, 1, H, W) that are 1 on `kept` random tiles of each image."""
        order_NT = torch.rand(count, self.pieces**2, generator=generator).argsort(1).argsort(1)
        chosen_NPP = (order_NT < self.kept).view(count, self.pieces, self.pieces)
        rows = torch.arange(height) * self.pieces // height
        columns = torch.arange(width) * self.pieces // width
        return chosen_NPP[:, rows][:, :, columns][:, None].float()
