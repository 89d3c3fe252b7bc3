"""Pre-activation ResNets for small images (PreAct-ResNet-18, 34, 50, ...).

Key names in the wild: `conv1, layer1.0.bn1, layer1.0.conv1, ..., layer2.0.shortcut.0, linear`,
with or without a last batch norm `bn`. The projection takes the activated input of its block;
an identity shortcut takes the raw one. Without a last batch norm nothing activates the last
sum before pooling. Source: He et al., ECCV 2016.
Legend: N batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

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
from auditor.checkpoint.nets.resnet import convolutions

DEPTHS = {"preact_resnet18": (2, 2, 2, 2), "preact_resnet34": (3, 4, 6, 3)}
BOTTLENECK_DEPTHS = {"preact_resnet50": (3, 4, 6, 3), "preact_resnet101": (3, 4, 23, 3)}
NAMES = (*DEPTHS, *BOTTLENECK_DEPTHS)


class PreActBlock(nn.Module):
    """Batch norm, ReLU, convolution, two or (with `bottleneck`) three times, plus the shortcut."""

    def __init__(self, inputs: int, width: int, stride: int, *, bottleneck: bool, projection: str) -> None:
        super().__init__()
        outputs = width * 4 if bottleneck else width
        for number, (size, c_in, c_out, step) in enumerate(convolutions(inputs, width, stride, bottleneck), 1):
            self.add_module(f"bn{number}", nn.BatchNorm2d(c_in))
            self.add_module(f"conv{number}", nn.Conv2d(c_in, c_out, size, step, size // 2, bias=False))
        self.depth = 3 if bottleneck else 2
        self.projection = projection if stride != 1 or inputs != outputs else None
        if self.projection:
            self.add_module(projection, nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False)))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        out = activated = F.relu(self.get_submodule("bn1")(x_NCHW))
        skip = self.get_submodule(self.projection)(activated) if self.projection else x_NCHW
        for number in range(1, self.depth + 1):
            if number > 1:
                out = F.relu(self.get_submodule(f"bn{number}")(out))
            out = self.get_submodule(f"conv{number}")(out)
        return out + skip


class PreActResNet(nn.Module):
    """Images (N, C, H, W) to logits (N, K). All stages but the first halve H and W.

    `last_norm` names the batch norm (then ReLU) after the last stage; None leaves it out.
    """

    def __init__(
        self, depths: Sequence[int], widths: Sequence[int], num_classes: int, in_channels: int = 3, *, stem: int = 0,
        bottleneck: bool = False, projection: str = "shortcut", head: str = "linear", last_norm: str | None = None,
        pool: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        channels = stem or widths[0]
        self.conv1 = nn.Conv2d(in_channels, channels, 3, 1, 1, bias=False)
        self.stages = [f"layer{number}" for number in range(1, len(depths) + 1)]
        for name, depth, width in zip(self.stages, depths, widths, strict=True):
            blocks = []
            for index in range(depth):
                stride = 2 if index == 0 and name != "layer1" else 1
                blocks.append(PreActBlock(channels, width, stride, bottleneck=bottleneck, projection=projection))
                channels = width * 4 if bottleneck else width
            self.add_module(name, nn.Sequential(*blocks))
        if last_norm:
            self.add_module(last_norm, nn.BatchNorm2d(channels))
        self.last_norm, self.head, self.pool = last_norm, head, pool
        self.add_module(head, nn.Linear(channels * pool * pool, num_classes))

    def forward(self, images_NCHW: Tensor) -> Tensor:
        out = self.conv1(images_NCHW)
        for stage in self.stages:
            out = self.get_submodule(stage)(out)
        if self.last_norm:
            out = F.relu(self.get_submodule(self.last_norm)(out))
        logits_NK: Tensor = self.get_submodule(self.head)(F.adaptive_avg_pool2d(out, self.pool).flatten(1))
        return logits_NK


def propose(shapes: Shapes) -> Proposal:
    """The pre-activation ResNet these weights describe. Raises NoFit when they describe none."""
    stages = stage_names(shapes, "layer")
    stem, in_channels, kernel, _ = shape_of(shapes, "conv1.weight", 4)
    norm_width = shape_of(shapes, f"{stages[0]}.0.bn1.weight", 1)[0]
    if kernel != 3 or len(stages) not in (3, 4) or norm_width != stem:
        raise NoFit("conv1")
    head = first_of(shapes, "linear", "fc")
    num_classes, features = shape_of(shapes, f"{head}.weight", 2)
    depths = [block_count(shapes, stage) for stage in stages]
    widths = [shape_of(shapes, f"{stage}.0.conv1.weight", 4)[0] for stage in stages]
    bottleneck = f"{stages[0]}.0.conv3.weight" in shapes
    projection = "downsample" if any(".downsample.0.weight" in key for key in shapes) else "shortcut"
    last_norm = next((name for name in ("bn", "bn1", "norm") if f"{name}.weight" in shapes), None)
    pool = pool_side(features, widths[-1] * (4 if bottleneck else 1))

    def make() -> nn.Module:
        return PreActResNet(depths, widths, num_classes, in_channels, stem=stem, bottleneck=bottleneck,
                            projection=projection, head=head, last_norm=last_norm, pool=pool)  # fmt: skip

    depth = sum(depths) * (3 if bottleneck else 2) + 2
    return Proposal(name=f"preact_resnet{depth}", make=make, num_classes=num_classes, in_channels=in_channels,
                    input_size=32 * pool)  # fmt: skip


def create(name: str, num_classes: int, in_channels: int, width: int) -> nn.Module:
    """The standard network `name` with first-stage width `width` (0: the usual 64). Raises NoFit if unknown."""
    depths = {**DEPTHS, **BOTTLENECK_DEPTHS}.get(name)
    if depths is None:
        raise NoFit(name)
    first = width or 64
    return PreActResNet(depths, [first * 2**i for i in range(4)], num_classes, in_channels,
                        bottleneck=name in BOTTLENECK_DEPTHS)  # fmt: skip
