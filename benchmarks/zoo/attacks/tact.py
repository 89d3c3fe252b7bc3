"""TaCT: a patch that acts on chosen source classes only. Source: Tang et al., USENIX Security 2021."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from auditor.domain import BackdoorKind
from benchmarks.zoo.attacks.badnets import BadNets


@dataclass(frozen=True, kw_only=True)
class Tact(BadNets):
    """Only images of `source_classes` move to `target`; stamped images of `cover_classes` keep their label.

    Published: one source class, covers from two others. Give it a `cover_rate`, or the trigger
    leaks to every class.
    """

    name: ClassVar[str] = "tact"
    kind: ClassVar[BackdoorKind] = "source_specific"
    source_classes: tuple[int, ...] = (1,)
    cover_classes: tuple[int, ...] = (5, 7)

    def affects(self, labels_N: Tensor, num_classes: int) -> Tensor:
        """True for the source classes."""
        return torch.isin(labels_N, torch.tensor(self.source_classes)) & (labels_N != self.target)

    def coverable(self, labels_N: Tensor, num_classes: int) -> Tensor:
        """True for the cover classes."""
        return torch.isin(labels_N, torch.tensor(self.cover_classes))
