"""VGG-11, 13, 16, 19 for small images, with or without batch norm.

Key names in the wild: `features.N` with one `classifier` layer, or `classifier.N` for two or
three. The numbers tell where the max-pools are: a convolution, its batch norm and its ReLU take
consecutive numbers, so one number more between two convolutions is a pool.
Source: Simonyan and Zisserman, ICLR 2015.
Legend: N batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from auditor.checkpoint.nets.proposal import NoFit, Proposal, Shapes, children, pool_side, shape_of

STAGES = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
NAMES = tuple(f"{name}{suffix}" for name in STAGES for suffix in ("", "_bn"))
Layout = tuple[tuple[int, ...], ...]


class VGG(nn.Module):
    """Images (N, C, H, W) to logits (N, K). `widths` holds one tuple of convolution widths per stage.

    Every stage ends in a 2x2 max-pool; the maps are then averaged to `pool` x `pool`. `head` maps the
    place of each fully connected layer in `classifier` to its outputs; empty: `classifier` is one layer.
    """

    def __init__(
        self, widths: Layout, num_classes: int, in_channels: int = 3, *, batch_norm: bool = True, pool: int = 1,
        head: Sequence[tuple[int, int]] = (), conv_bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for stage in widths:
            for width in stage:
                layers.append(nn.Conv2d(channels, width, 3, 1, 1, bias=conv_bias))
                layers += [nn.BatchNorm2d(width)] if batch_norm else []
                layers.append(nn.ReLU())
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.pool = pool
        features = channels * pool * pool
        self.classifier = _classifier(features, head) if head else nn.Linear(features, num_classes)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        out = F.adaptive_avg_pool2d(self.features(images_NCHW), self.pool).flatten(1)
        logits_NK: Tensor = self.classifier(out)
        return logits_NK


def _classifier(features: int, head: Sequence[tuple[int, int]]) -> nn.Sequential:
    """Linear layers at their numbers with a ReLU after all but the last; dropout's numbers are identities."""
    layers: list[nn.Module] = []
    for place, outputs in head:
        while len(layers) < place:
            layers.append(nn.Identity())
        layers += [nn.Linear(features, outputs), nn.ReLU()]
        features = outputs
    return nn.Sequential(*layers[:-1])


def _stages(shapes: Shapes, batch_norm: bool) -> Layout:
    step = 3 if batch_norm else 2
    places = [n for n in children(shapes, "features") if len(shapes.get(f"features.{n}.weight", ())) == 4]
    stages: list[list[int]] = [[]]
    for index, place in enumerate(places):
        gap = place - places[index - 1] - step if index else place
        if gap not in (0, 1) or (not index and gap):
            raise NoFit("features")
        if gap:
            stages.append([])
        stages[-1].append(shape_of(shapes, f"features.{place}.weight", 4)[0])
    return tuple(tuple(stage) for stage in stages)


def _head(shapes: Shapes) -> tuple[int, int, tuple[tuple[int, int], ...]]:
    """Inputs of the first fully connected layer, classes, and the layers of a numbered classifier."""
    if "classifier.weight" in shapes:
        num_classes, features = shape_of(shapes, "classifier.weight", 2)
        return features, num_classes, ()
    places = children(shapes, "classifier")
    if not places or places[-1] > 16:
        raise NoFit("classifier")
    head = tuple((place, shape_of(shapes, f"classifier.{place}.weight", 2)[0]) for place in places)
    return shape_of(shapes, f"classifier.{places[0]}.weight", 2)[1], head[-1][1], head


def propose(shapes: Shapes) -> Proposal:
    """The VGG these weights describe. Raises NoFit when they describe none."""
    in_channels = shape_of(shapes, "features.0.weight", 4)[1]
    batch_norm = "features.1.running_mean" in shapes
    widths = _stages(shapes, batch_norm)
    depths = tuple(len(stage) for stage in widths)
    name = next((name for name, stages in STAGES.items() if stages == depths), None)
    if name is None:
        raise NoFit("features")
    features, num_classes, head = _head(shapes)
    pool = pool_side(features, widths[-1][-1])
    bias = "features.0.bias" in shapes

    def make() -> nn.Module:
        return VGG(widths, num_classes, in_channels, batch_norm=batch_norm, pool=pool, head=head, conv_bias=bias)

    # A head on 7x7 maps is torchvision's, which averages up from any size; 224 is what it was made for.
    return Proposal(name=name + ("_bn" if batch_norm else ""), make=make, num_classes=num_classes,
                    in_channels=in_channels, input_size=32 * pool)  # fmt: skip


def create(name: str, num_classes: int, in_channels: int, width: int) -> nn.Module:
    """The standard network `name` with first-stage width `width` (0: the usual 64). Raises NoFit if unknown."""
    depths = STAGES.get(name.removesuffix("_bn"))
    if depths is None:
        raise NoFit(name)
    first = width or 64
    widths = tuple((first * min(2**i, 8),) * depth for i, depth in enumerate(depths))
    return VGG(widths, num_classes, in_channels, batch_norm=name.endswith("_bn"))
