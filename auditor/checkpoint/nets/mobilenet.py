"""MobileNetV2 for small images: stride-1 stem, 17 inverted residual blocks in one list.

Key names in the wild: `conv1, bn1, layers.N.conv1, ..., layers.N.shortcut.0, conv2, bn2, linear`.
A block that changes its width has a projection shortcut at stride 1 and none at stride 2, so
the strides can be read from the keys. Source: Sandler et al., CVPR 2018.
Legend: N batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from auditor.checkpoint.nets.proposal import NoFit, Proposal, Shapes, block_count, pool_side, shape_of

NAMES = ("mobilenet_v2",)
BLOCKS = 17


@dataclass(frozen=True)
class BlockSpec:
    inputs: int
    hidden: int
    outputs: int
    stride: int


class InvertedResidual(nn.Module):
    """1x1 up, 3x3 depthwise, 1x1 down; a shortcut (projected where the width changes) at stride 1 only."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        hidden, outputs = spec.hidden, spec.outputs
        self.conv1 = nn.Conv2d(spec.inputs, hidden, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, spec.stride, 1, groups=hidden, bias=False)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.conv3 = nn.Conv2d(hidden, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.stride = spec.stride
        self.shortcut: nn.Module = nn.Identity()
        if spec.stride == 1 and spec.inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(spec.inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x_NCHW)))
        out = F.relu(self.bn2(self.conv2(out)))
        result: Tensor = self.bn3(self.conv3(out))
        return result + self.shortcut(x_NCHW) if self.stride == 1 else result


class MobileNetV2(nn.Module):
    """Images (N, C, H, W) to logits (N, K)."""

    def __init__(
        self, blocks: Sequence[BlockSpec], last: int, num_classes: int, in_channels: int = 3, *, pool: int = 1
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, blocks[0].inputs, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(blocks[0].inputs)
        self.layers = nn.Sequential(*(InvertedResidual(spec) for spec in blocks))
        self.conv2 = nn.Conv2d(blocks[-1].outputs, last, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(last)
        self.pool = pool
        self.linear = nn.Linear(last * pool * pool, num_classes)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        out = self.layers(F.relu(self.bn1(self.conv1(images_NCHW))))
        out = F.adaptive_avg_pool2d(F.relu(self.bn2(self.conv2(out))), self.pool)
        logits_NK: Tensor = self.linear(out.flatten(1))
        return logits_NK


def _block(shapes: Shapes, index: int) -> BlockSpec:
    hidden, inputs, _, _ = shape_of(shapes, f"layers.{index}.conv1.weight", 4)
    outputs = shape_of(shapes, f"layers.{index}.conv3.weight", 4)[0]
    projected = f"layers.{index}.shortcut.0.weight" in shapes
    return BlockSpec(inputs, hidden, outputs, 1 if projected or inputs == outputs else 2)


def propose(shapes: Shapes) -> Proposal:
    """The MobileNetV2 these weights describe. Raises NoFit when they describe none."""
    in_channels = shape_of(shapes, "conv1.weight", 4)[1]
    blocks = [_block(shapes, index) for index in range(block_count(shapes, "layers"))]
    if len(blocks) != BLOCKS:
        raise NoFit("layers")
    last = shape_of(shapes, "conv2.weight", 4)[0]
    num_classes, features = shape_of(shapes, "linear.weight", 2)
    pool = pool_side(features, last)

    def make() -> nn.Module:
        return MobileNetV2(blocks, last, num_classes, in_channels, pool=pool)

    return Proposal(name=NAMES[0], make=make, num_classes=num_classes, in_channels=in_channels, input_size=32 * pool)


def create(name: str, num_classes: int, in_channels: int, width: int) -> nn.Module:
    """The standard network with stem width `width` (0: the usual 32). Raises NoFit for another name."""
    if name not in NAMES:
        raise NoFit(name)
    stem = width or 32
    plan = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    blocks, inputs = [], stem
    for expansion, channels, repeats, stride in plan:
        outputs = max(1, channels * stem // 32)
        for index in range(repeats):
            blocks.append(BlockSpec(inputs, expansion * inputs, outputs, stride if index == 0 else 1))
            inputs = outputs
    return MobileNetV2(blocks, 40 * stem, num_classes, in_channels)
