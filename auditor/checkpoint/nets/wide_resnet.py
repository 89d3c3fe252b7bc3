"""Wide ResNets for CIFAR: WRN-16-k, WRN-28-10, WRN-40-k, three stages of pre-activation blocks.

Key names in the wild: `conv1, block1.layer.0.bn1, ..., block1.layer.0.convShortcut, bn1, fc`;
some checkpoints also carry a `sub_block1` that no forward pass uses. Where the width changes,
both branches take the activated input; elsewhere the shortcut takes the raw one.
Source: Zagoruyko and Komodakis, BMVC 2016.
Legend: N batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from auditor.checkpoint.nets.proposal import (
    NoFit,
    Proposal,
    Shapes,
    block_count,
    first_of,
    pool_side,
    shape_of,
    stage_names,
)  # fmt: skip

NAMES = ("wide_resnet16_1", "wide_resnet16_2", "wide_resnet28_10", "wide_resnet34_10", "wide_resnet40_2")


class WideBlock(nn.Module):
    """Batch norm, ReLU, 3x3 convolution, twice; dropout between them is off in evaluation."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.convShortcut = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        activated = F.relu(self.bn1(x_NCHW))
        out: Tensor = self.conv2(F.relu(self.bn2(self.conv1(activated))))
        return out + (x_NCHW if self.convShortcut is None else self.convShortcut(activated))


class WideStage(nn.Module):
    """`depth` blocks in a row; the first has the stride and changes the width."""

    def __init__(self, depth: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(
            *(WideBlock(inputs if i == 0 else outputs, outputs, stride if i == 0 else 1) for i in range(depth))
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        out: Tensor = self.layer(x_NCHW)
        return out


class WideResNet(nn.Module):
    """Images (N, C, H, W) to logits (N, K)."""

    def __init__(
        self, depths: Sequence[int], widths: Sequence[int], num_classes: int, in_channels: int = 3, *, stem: int = 16,
        head: str = "fc", pool: int = 1, unused_block: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, stem, 3, 1, 1, bias=False)
        inputs = (stem, *widths[:-1])
        self.stages = [f"block{number}" for number in range(1, len(depths) + 1)]
        for index, name in enumerate(self.stages):
            stage = WideStage(depths[index], inputs[index], widths[index], 1 if index == 0 else 2)
            self.add_module(name, stage)
        if unused_block:
            self.sub_block1 = WideStage(depths[0], stem, widths[0], 1)
        self.bn1 = nn.BatchNorm2d(widths[-1])
        self.head, self.pool = head, pool
        self.add_module(head, nn.Linear(widths[-1] * pool * pool, num_classes))

    def forward(self, images_NCHW: Tensor) -> Tensor:
        out = self.conv1(images_NCHW)
        for stage in self.stages:
            out = self.get_submodule(stage)(out)
        out = F.adaptive_avg_pool2d(F.relu(self.bn1(out)), self.pool).flatten(1)
        logits_NK: Tensor = self.get_submodule(self.head)(out)
        return logits_NK


def propose(shapes: Shapes) -> Proposal:
    """The Wide ResNet these weights describe. Raises NoFit when they describe none."""
    stages = stage_names(shapes, "block")
    stem, in_channels, kernel, _ = shape_of(shapes, "conv1.weight", 4)
    head = first_of(shapes, "fc", "linear")
    num_classes, features = shape_of(shapes, f"{head}.weight", 2)
    depths = [block_count(shapes, f"{stage}.layer") for stage in stages]
    widths = [shape_of(shapes, f"{stage}.layer.0.conv1.weight", 4)[0] for stage in stages]
    if kernel != 3 or len(stages) != 3 or len(set(depths)) != 1:
        raise NoFit("block3")
    pool = pool_side(features, widths[-1])
    unused = "sub_block1.layer.0.conv1.weight" in shapes
    notes = ("sub_block1 is carried along; the forward pass does not use it",) if unused else ()

    def make() -> nn.Module:
        return WideResNet(depths, widths, num_classes, in_channels, stem=stem, head=head, pool=pool,
                          unused_block=unused)  # fmt: skip

    widen = f"{widths[0] / stem:g}".replace(".", "p")
    return Proposal(name=f"wide_resnet{6 * depths[0] + 4}_{widen}", make=make, num_classes=num_classes,
                    in_channels=in_channels, input_size=32 * pool, notes=notes)  # fmt: skip


def create(name: str, num_classes: int, in_channels: int, width: int) -> nn.Module:
    """`wide_resnet<depth>_<widen>` with stem width `width` (0: the usual 16). Raises NoFit if not of that form."""
    match = re.fullmatch(r"wide_resnet(\d{1,3})_(\d{1,2})", name)
    if not match or int(match[1]) < 10 or (int(match[1]) - 4) % 6 or int(match[2]) < 1:
        raise NoFit(name)
    n, widen, stem = (int(match[1]) - 4) // 6, int(match[2]), width or 16
    widths = [stem * widen * 2**i for i in range(3)]
    return WideResNet((n, n, n), widths, num_classes, in_channels, stem=stem)
