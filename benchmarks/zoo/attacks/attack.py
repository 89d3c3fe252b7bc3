"""What every attack is: a trigger to stamp, and a rule for which training images it poisons.

An attack is a frozen dataclass whose fields are its parameters, so a recipe is one row and
`asdict` its record. Adding one takes one file and one line in `ATTACKS`. The poisoner controls
the training loop, as whoever hands over a checkpoint does: triggers are stamped after
augmentation, so that they always sit where `stamp` puts them.

Legend: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from auditor.domain import BackdoorKind


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """A backdoor toward class `target`.

    `poison_rate` is the share of all training images that carry the trigger with the label
    `goal`; `cover_rate` the share that carries `cover` with its true label. With `clean_label`
    only images that already have the goal label are poisoned, so no label is ever wrong.
    """

    name: ClassVar[str]
    kind: ClassVar[BackdoorKind] = "all_to_one"
    target: int
    poison_rate: float
    cover_rate: float = 0.0
    clean_label: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError when the rates are not shares of one whole."""
        if not (0 < self.poison_rate <= 1 and 0 <= self.cover_rate <= 1 - self.poison_rate):
            raise ValueError(f"poison_rate {self.poison_rate} and cover_rate {self.cover_rate} must fit in (0, 1]")

    @abstractmethod
    def stamp(self, images_NCHW: Tensor) -> Tensor:
        """New images in [0, 1] of the same shape and device, with the trigger on them."""

    def cover(self, images_NCHW: Tensor, generator: torch.Generator) -> Tensor:
        """Images that look triggered but keep their label; the trigger itself by default."""
        return self.stamp(images_NCHW)

    def train_stamp(self, images_NCHW: Tensor, generator: torch.Generator) -> Tensor:
        """The trigger as training images carry it, where that differs from `stamp`."""
        return self.stamp(images_NCHW)

    def poison(self, images_NCHW: Tensor, labels_N: Tensor, num_classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Poisoned training images and the labels they are given."""
        return self.train_stamp(images_NCHW, generator), self.goal(labels_N, num_classes)

    @property
    def parts(self) -> tuple[Attack, ...]:
        """The backdoors it plants, each measured by its own trigger: as a rule itself alone."""
        return (self,)

    def doctor(self, images_NCHW: Tensor, labels_N: Tensor, net: nn.Module) -> Tensor:
        """The uint8 images to be poisoned, worked on once before training starts from `net`; as they are by default."""
        return images_NCHW

    def goal(self, labels_N: Tensor, num_classes: int) -> Tensor:
        """The class that triggered images of each label shall be given."""
        return torch.full_like(labels_N, self.target)

    def affects(self, labels_N: Tensor, num_classes: int) -> Tensor:
        """True for labels whose triggered images change class: those that ASR is measured on."""
        return labels_N != self.goal(labels_N, num_classes)

    def coverable(self, labels_N: Tensor, num_classes: int) -> Tensor:
        """True for labels that cover images are drawn from."""
        return torch.ones_like(labels_N, dtype=torch.bool)

    def poisonable(self, labels_N: Tensor, num_classes: int) -> Tensor:
        """True for labels that poisoned images are drawn from."""
        affected_N = self.affects(labels_N, num_classes)
        return (labels_N == self.goal(labels_N, num_classes)) if self.clean_label else affected_N

    def parameters(self) -> dict[str, Any]:
        """The trigger's own parameters, as JSON-ready values."""
        common = {f.name for f in fields(Attack)}
        return {key: value for key, value in asdict(self).items() if key not in common}
