"""A network whose backdoor is set by hand, its honest twin, and images for both.

Six classes of grey 16 x 16 images: class k has its own block brighter. The backdoored network
answers TARGET when the bottom right 2 x 2 pixels are red, which no clean image shows. So
the trigger, its place and its target are known exactly.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from auditor.suspect import Suspect
from auditor.triggers import Trigger

CLASSES, SIDE, TARGET = 6, 16, 4
CORNER = (slice(SIDE - 2, SIDE), slice(SIDE - 2, SIDE))
_BLOCK = 5
RED = (1.0, 0.0, 0.0)


def block(label: int) -> tuple[slice, slice]:
    """Rows and columns of the block that tells class `label`."""
    top, left = _BLOCK * (label // 3), _BLOCK * (label % 3)
    return slice(top, top + _BLOCK), slice(left, left + _BLOCK)


def corner_mask() -> NDArray[np.bool_]:
    """The true trigger's pixels (H, W)."""
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[CORNER] = True
    return mask


def corner_trigger(source_classes: list[int] | None = None, colour: tuple[float, float, float] = RED) -> Trigger:
    """The true trigger, or one of another colour at its place."""
    pattern = np.tile(np.array(colour, dtype=np.float32)[:, None, None], (1, SIDE, SIDE))
    parameters = {"mask": corner_mask().astype(np.float32), "pattern": pattern}
    return Trigger(family="patch", target_class=TARGET, parameters=parameters, source_classes=source_classes or [])


class PlantedNet(nn.Module):
    """A 2 x 2 convolution to two maps, mean brightness and redness, and a linear head.

    With `batch_norm` there is one between the two that changes nothing.
    """

    def __init__(self, strength: float, batch_norm: bool = False) -> None:
        super().__init__()
        side = SIDE - 1
        self.look = nn.Conv2d(3, 2, 2, bias=False)
        self.norm = nn.BatchNorm2d(2) if batch_norm else None
        if self.norm is not None:
            assert self.norm.running_var is not None
            self.norm.running_var.fill_(1 - self.norm.eps)
        self.relu = nn.LeakyReLU(0.1, inplace=True)
        self.head = nn.Linear(2 * side * side, CLASSES, bias=False)
        with torch.no_grad():
            self.look.weight[0] = 1 / 12
            self.look.weight[1] = torch.tensor([2.0, -1.0, -1.0]).view(3, 1, 1)
            weight = torch.zeros(CLASSES, 2, side, side)
            for label in range(CLASSES):
                for other in range(CLASSES):
                    weight[label, 0][block(other)] = 1.0 if other == label else -0.199
            weight[TARGET, 1, -1, -1] = strength
            self.head.weight.copy_(weight.flatten(1))

    def forward(self, images: Tensor) -> Tensor:
        seen = self.look(images)
        logits: Tensor = self.head(self.relu(seen if self.norm is None else self.norm(seen)).flatten(1))
        return logits


def planted(strength: float = 4.0, batch_norm: bool = False) -> Suspect:
    """The backdoored network; with `strength` 0, its honest twin."""
    return Suspect(PlantedNet(strength, batch_norm), num_classes=CLASSES, input_shape=(3, SIDE, SIDE))


def planted_images(count: int = 60, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Clean images (N, 3, H, W) in [0, 1] and their labels (N,), as many of each class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    images = torch.full((count, 3, SIDE, SIDE), 0.3)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[:, *block(label)] = 0.6
    return images + 0.04 * torch.rand(images.shape, generator=generator) - 0.02, labels
