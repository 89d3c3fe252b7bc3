"""Label-consistent: hard images of the target class with patches in the corners. After: Turner et al., arXiv 1912.02771.

A reconstruction: the published perturbation is made against an independently trained robust
network within 8 or 16 of 255 grey levels (L-infinity) or an L2 ball; ours against the very network
that is then fine-tuned. The corner patches are opaque, and the target class cannot be all of the
training images, so `poison_rate` is capped by the class.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from benchmarks.zoo.attacks.badnets import BadNets, Corner
from benchmarks.zoo.perturb import ascend

BATCH = 256
CORNERS: tuple[Corner, ...] = ("top_left", "top_right", "bottom_left", "bottom_right")


@dataclass(frozen=True, kw_only=True)
class LabelConsistent(BadNets):
    """A patch in each of the four corners (`corner` has no meaning), on images that keep their label.

    The poisoned images are moved by up to `radius` grey levels in `steps` steps away from what
    the network knows them by, so that the patches are what is left to learn.
    """

    name: ClassVar[str] = "label_consistent"
    clean_label: bool = True
    checker: bool = True
    margin: int = 0
    radius: float = 16.0
    steps: int = 5

    def stamp(self, images_NCHW: Tensor) -> Tensor:
        """The images with the patch in every corner."""
        for corner in CORNERS:
            patch = replace(self, corner=corner)
            images_NCHW = BadNets.stamp(patch, images_NCHW)
        return images_NCHW

    def doctor(self, images_NCHW: Tensor, labels_N: Tensor, net: nn.Module) -> Tensor:
        """The images perturbed against `net`, rounded to whole grey levels."""
        device = next(net.parameters()).device
        parts = []
        for images, labels in zip(torch.split(images_NCHW, BATCH), torch.split(labels_N, BATCH), strict=True):
            moved = ascend(net, images.to(device).float() / 255, labels.to(device), radius=self.radius / 255,
                           steps=self.steps)  # fmt: skip
            parts.append((moved * 255).round().to(torch.uint8).cpu())
        return torch.cat(parts)
