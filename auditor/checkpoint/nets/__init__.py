"""Our own networks for small images, `cifar:<name>`, under the key names found in the wild.

One module per family with `NAMES` (the usual names), `propose(shapes)` (the network a state
dict describes) and `create(name, num_classes, in_channels, width)` (a standard one, untrained).
"""

from __future__ import annotations

from torch import nn

from auditor.checkpoint.nets import densenet, mobilenet, preact_resnet, resnet, resnet_cifar, vgg, wide_resnet
from auditor.checkpoint.nets.proposal import NoFit, Proposal, Shapes

FAMILIES = (resnet_cifar, resnet, preact_resnet, wide_resnet, vgg, mobilenet, densenet)
NAMES: tuple[str, ...] = tuple(name for family in FAMILIES for name in family.NAMES)


def propose(shapes: Shapes) -> list[Proposal]:
    """What each family makes of these shapes; empty when no family recognises them."""
    found = []
    for family in FAMILIES:
        try:
            found.append(family.propose(shapes))
        except NoFit:
            continue
    return found


def create(name: str, num_classes: int, in_channels: int = 3, width: int = 0) -> nn.Module:
    """The standard network `name` (without `cifar:`), untrained; `width` 0 is the family's usual width.

    Raises NoFit when no family has that name.
    """
    for family in FAMILIES:
        try:
            module: nn.Module = family.create(name, num_classes, in_channels, width)
        except NoFit:
            continue
        return module
    raise NoFit(name)


__all__ = ["FAMILIES", "NAMES", "NoFit", "Proposal", "Shapes", "create", "propose"]
