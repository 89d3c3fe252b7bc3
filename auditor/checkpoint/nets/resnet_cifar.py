"""The 6n+2 ResNets for CIFAR: ResNet-20, 32, 44, 56, 110, three stages of n basic blocks.

Keys as in `resnet.py` with three stages. Shortcuts are option A (strided and zero-padded, no
keys) or option B (`shortcut` or `downsample`, 1x1 convolution and batch norm).
Source: He et al., CVPR 2016, section 4.2.
"""

from __future__ import annotations

from torch import nn

from auditor.checkpoint.nets.proposal import NoFit, Proposal, Shapes
from auditor.checkpoint.nets.resnet import ResNet, read

NAMES = ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110")


def _name(depths: list[int], bottleneck: bool) -> str:
    if len(depths) != 3 or bottleneck or len(set(depths)) != 1:
        raise NoFit("layer3")
    return f"resnet{6 * depths[0] + 2}"


def propose(shapes: Shapes) -> Proposal:
    """The three-stage ResNet these weights describe. Raises NoFit when they describe none."""
    return read(shapes, _name)


def create(name: str, num_classes: int, in_channels: int, width: int) -> nn.Module:
    """The option A network `name` with first-stage width `width` (0: the usual 16). Raises NoFit if unknown."""
    if name not in NAMES:
        raise NoFit(name)
    first, n = width or 16, (int(name.removeprefix("resnet")) - 2) // 6
    return ResNet((n, n, n), (first, 2 * first, 4 * first), num_classes, in_channels, projection=None)
