"""ResNets for small images: 3x3 stride-1 stem, no max-pool, four stages (ResNet-18, 34, 50, ...).

Key names in the wild: `conv1, bn1, layer1.0.conv1, ...` with `shortcut` and `linear`, or with
torchvision's `downsample` and `fc`. Source: He et al., CVPR 2016.
Legend: N batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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

DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
BOTTLENECK_DEPTHS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3), "resnet152": (3, 8, 36, 3)}


class ZeroPadShortcut(nn.Module):
    """Option A: every `stride`-th pixel, the missing channels zero, half of them on each side."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.before = (out_channels - in_channels) // 2
        self.after = out_channels - in_channels - self.before
        self.stride = stride

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return F.pad(x_NCHW[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def convolutions(inputs: int, width: int, stride: int, bottleneck: bool) -> list[tuple[int, int, int, int]]:
    """Kernel size, input channels, output channels and stride of each convolution in a block."""
    if bottleneck:
        return [(1, inputs, width, 1), (3, width, width, stride), (1, width, 4 * width, 1)]
    return [(3, inputs, width, stride), (3, width, width, 1)]


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or 1x1, 3x3, 1x1 with `bottleneck`.

    `projection` names the attribute that holds a 1x1 convolution with batch norm where the
    shape changes (option B); None means the parameter-free option A there.
    """

    def __init__(self, inputs: int, width: int, stride: int, *, bottleneck: bool, projection: str | None) -> None:
        super().__init__()
        outputs = width * 4 if bottleneck else width
        for number, (size, c_in, c_out, step) in enumerate(convolutions(inputs, width, stride, bottleneck), 1):
            self.add_module(f"conv{number}", nn.Conv2d(c_in, c_out, size, step, size // 2, bias=False))
            self.add_module(f"bn{number}", nn.BatchNorm2d(c_out))
        self.depth = 3 if bottleneck else 2
        self.skip_name = projection or "skip"
        self.add_module(self.skip_name, self._skip(inputs, outputs, stride, projection))

    @staticmethod
    def _skip(inputs: int, outputs: int, stride: int, projection: str | None) -> nn.Module:
        if stride == 1 and inputs == outputs:
            return nn.Identity()
        if projection is None:
            return ZeroPadShortcut(inputs, outputs, stride)
        return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        out = x_NCHW
        for number in range(1, self.depth + 1):
            out = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(out))
            if number < self.depth:
                out = F.relu(out)
        return F.relu(out + self.get_submodule(self.skip_name)(x_NCHW))


class ResNet(nn.Module):
    """Images (N, C, H, W) to logits (N, K). One stage per entry of `depths`; all but the first halve H and W.

    `head` is the attribute name of the last layer; it sees the maps pooled to `pool` x `pool`.
    """

    def __init__(
        self, depths: Sequence[int], widths: Sequence[int], num_classes: int, in_channels: int = 3, *, stem: int = 0,
        bottleneck: bool = False, projection: str | None = "shortcut", head: str = "linear", pool: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        channels = stem or widths[0]
        self.conv1 = nn.Conv2d(in_channels, channels, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.stages = [f"layer{number}" for number in range(1, len(depths) + 1)]
        for name, depth, width in zip(self.stages, depths, widths, strict=True):
            blocks = []
            for index in range(depth):
                stride = 2 if index == 0 and name != "layer1" else 1
                blocks.append(Block(channels, width, stride, bottleneck=bottleneck, projection=projection))
                channels = width * 4 if bottleneck else width
            self.add_module(name, nn.Sequential(*blocks))
        self.pool, self.head = pool, head
        self.add_module(head, nn.Linear(channels * pool * pool, num_classes))

    def forward(self, images_NCHW: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(images_NCHW)))
        for stage in self.stages:
            out = self.get_submodule(stage)(out)
        logits_NK: Tensor = self.get_submodule(self.head)(F.adaptive_avg_pool2d(out, self.pool).flatten(1))
        return logits_NK


def read(shapes: Shapes, name_of: Callable[[list[int], bool], str]) -> Proposal:
    """The ResNet these weights describe; `name_of` names it from its depths and whether it is a bottleneck net.

    Raises NoFit when they describe none.
    """
    stages = stage_names(shapes, "layer")
    stem, in_channels, kernel, _ = shape_of(shapes, "conv1.weight", 4)
    if kernel != 3 or "bn1.weight" not in shapes:
        raise NoFit("conv1")
    head = first_of(shapes, "linear", "fc")
    num_classes, features = shape_of(shapes, f"{head}.weight", 2)
    depths = [block_count(shapes, stage) for stage in stages]
    widths = [shape_of(shapes, f"{stage}.0.conv1.weight", 4)[0] for stage in stages]
    bottleneck = f"{stages[0]}.0.conv3.weight" in shapes
    names = [name for name in ("shortcut", "downsample") if any(f".0.{name}.0.weight" in key for key in shapes)]
    projection = names[0] if names else None
    pool = pool_side(features, widths[-1] * (4 if bottleneck else 1))
    notes = [] if projection else ["shortcuts without parameters read as option A (strided, zero-padded channels)"]

    def make() -> nn.Module:
        return ResNet(depths, widths, num_classes, in_channels, stem=stem, bottleneck=bottleneck,
                      projection=projection, head=head, pool=pool)  # fmt: skip

    return Proposal(
        name=name_of(depths, bottleneck), make=make, num_classes=num_classes, in_channels=in_channels,
        input_size=32 * pool, notes=tuple(notes),
    )  # fmt: skip


def _name(depths: list[int], bottleneck: bool) -> str:
    if len(depths) != 4:
        raise NoFit("layer4")
    return f"resnet{sum(depths) * (3 if bottleneck else 2) + 2}"


def propose(shapes: Shapes) -> Proposal:
    """The four-stage ResNet these weights describe. Raises NoFit when they describe none."""
    found = read(shapes, _name)
    note = "3x3 stem read as stride 1 without max-pool, the usual form for small images"
    return Proposal(**{**vars(found), "notes": (note, *found.notes)})


def create(name: str, num_classes: int, in_channels: int, width: int) -> nn.Module:
    """The standard network `name` with first-stage width `width` (0: the usual 64). Raises NoFit if unknown."""
    depths = {**DEPTHS, **BOTTLENECK_DEPTHS}.get(name)
    if depths is None:
        raise NoFit(name)
    first = width or 64
    return ResNet(depths, [first * 2**i for i in range(4)], num_classes, in_channels,
                  bottleneck=name in BOTTLENECK_DEPTHS)  # fmt: skip


NAMES = (*DEPTHS, *BOTTLENECK_DEPTHS)
