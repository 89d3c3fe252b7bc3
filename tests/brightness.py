"""A linear toy where every answer is known by hand: it tells images by their brightness alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from auditor.suspect import Suspect


class Brightness(nn.Module):
    """Class 1 above half brightness, class 2 above 0.9, else class 0; linear in the pixels."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean((1, 2, 3))
        return 100 * torch.stack([torch.zeros_like(mean), mean - 0.5, 2 * mean - 1.4], 1)


def toy() -> Suspect:
    return Suspect(Brightness(), num_classes=3, input_shape=(1, 2, 2))


def grey(*values: float) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()


def added(*values: float) -> dict[str, Tensor]:
    return {"delta": grey(*values)}
