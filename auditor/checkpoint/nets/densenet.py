"""DenseNet-BC for small images: 3x3 stem, three or four dense blocks of bottleneck layers.

Key names in the wild: `conv1, dense1.0.bn1, ..., trans1.bn, trans1.conv, bn, linear`, which put
each layer's new maps before the old ones, or `trans1.bn1, trans1.conv1, bn, fc`, which put them
after. Source: Huang et al., CVPR 2017.
Legend: N batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
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

DEPTHS = {"densenet100": (16, 16, 16), "densenet121": (6, 12, 24, 16), "densenet169": (6, 12, 32, 32)}
NAMES = tuple(DEPTHS)


class DenseLayer(nn.Module):
    """Adds `growth` maps to its input, before it (`new_first`) or after it."""

    def __init__(self, inputs: int, hidden: int, growth: int, new_first: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, hidden, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, growth, 3, 1, 1, bias=False)
        self.new_first = new_first

    def forward(self, x_NCHW: Tensor) -> Tensor:
        new = self.conv1(F.relu(self.bn1(x_NCHW)))
        new = self.conv2(F.relu(self.bn2(new)))
        return torch.cat((new, x_NCHW) if self.new_first else (x_NCHW, new), 1)


class Transition(nn.Module):
    """Batch norm, ReLU, 1x1 convolution, 2x2 average; the attributes are `bn, conv` plus `suffix`."""

    def __init__(self, inputs: int, outputs: int, suffix: str) -> None:
        super().__init__()
        self.norm, self.mix = f"bn{suffix}", f"conv{suffix}"
        self.add_module(self.norm, nn.BatchNorm2d(inputs))
        self.add_module(self.mix, nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return F.avg_pool2d(self.get_submodule(self.mix)(F.relu(self.get_submodule(self.norm)(x_NCHW))), 2)


class DenseNet(nn.Module):
    """Images (N, C, H, W) to logits (N, K). `squeezed` holds the width after each transition."""

    def __init__(
        self, depths: Sequence[int], squeezed: Sequence[int], stem: int, growth: int, hidden: int, num_classes: int,
        in_channels: int = 3, *, suffix: str = "", head: str = "linear", pool: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, stem, 3, 1, 1, bias=False)
        channels = stem
        self.stages: list[str] = []
        for number, depth in enumerate(depths, 1):
            layers = [DenseLayer(channels + i * growth, hidden, growth, not suffix) for i in range(depth)]
            self._add(f"dense{number}", nn.Sequential(*layers))
            channels += depth * growth
            if number < len(depths):
                self._add(f"trans{number}", Transition(channels, squeezed[number - 1], suffix))
                channels = squeezed[number - 1]
        self.bn = nn.BatchNorm2d(channels)
        self.head, self.pool = head, pool
        self.add_module(head, nn.Linear(channels * pool * pool, num_classes))

    def _add(self, name: str, stage: nn.Module) -> None:
        self.stages.append(name)
        self.add_module(name, stage)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        out = self.conv1(images_NCHW)
        for stage in self.stages:
            out = self.get_submodule(stage)(out)
        out = F.adaptive_avg_pool2d(F.relu(self.bn(out)), self.pool).flatten(1)
        logits_NK: Tensor = self.get_submodule(self.head)(out)
        return logits_NK


def propose(shapes: Shapes) -> Proposal:
    """The DenseNet-BC these weights describe. Raises NoFit when they describe none."""
    stages = stage_names(shapes, "dense")
    stem, in_channels, kernel, _ = shape_of(shapes, "conv1.weight", 4)
    if kernel != 3 or len(stages) not in (3, 4):
        raise NoFit("conv1")
    depths = [block_count(shapes, stage) for stage in stages]
    suffix = "1" if "trans1.conv1.weight" in shapes else ""
    squeezed = [shape_of(shapes, f"trans{n}.conv{suffix}.weight", 4)[0] for n in range(1, len(stages))]
    growth, hidden, _, _ = shape_of(shapes, "dense1.0.conv2.weight", 4)
    head = first_of(shapes, "linear", "fc")
    num_classes, features = shape_of(shapes, f"{head}.weight", 2)
    pool = pool_side(features, shape_of(shapes, "bn.weight", 1)[0])

    def make() -> nn.Module:
        return DenseNet(depths, squeezed, stem, growth, hidden, num_classes, in_channels, suffix=suffix, head=head,
                        pool=pool)  # fmt: skip

    depth = 2 * sum(depths) + len(squeezed) + 2
    return Proposal(name=f"densenet{depth}", make=make, num_classes=num_classes, in_channels=in_channels,
                    input_size=32 * pool)  # fmt: skip


def create(name: str, num_classes: int, in_channels: int, width: int) -> nn.Module:
    """The standard network `name` with growth rate `width` (0: the usual 12 or 32). Raises NoFit if unknown."""
    depths = DEPTHS.get(name)
    if depths is None:
        raise NoFit(name)
    growth = width or (12 if len(depths) == 3 else 32)
    channels, squeezed = 2 * growth, []
    for depth in depths[:-1]:
        channels = (channels + depth * growth) // 2
        squeezed.append(channels)
    return DenseNet(depths, squeezed, 2 * growth, growth, 4 * growth, num_classes, in_channels)
