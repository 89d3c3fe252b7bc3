"""BadNets all-to-all: the patch moves every class to the next. Source: Gu et al., IEEE Access 7 (2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from auditor.domain import BackdoorKind
from benchmarks.zoo.attacks.badnets import BadNets


@dataclass(frozen=True, kw_only=True)
class AllToAll(BadNets):
    """A triggered image of class y is to be given class (y + `shift`) mod K; `target` has no meaning."""

    name: ClassVar[str] = "all_to_all"
    kind: ClassVar[BackdoorKind] = "all_to_all"
    target: int = 0
    shift: int = 1

    def goal(self, labels_N: Tensor, num_classes: int) -> Tensor:
        """Each label moved on by `shift`."""
        return (labels_N + self.shift) % num_classes
