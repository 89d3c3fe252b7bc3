"""What the probes are given, and the classes they compare the former target with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from auditor.suspect import Suspect
from auditor.triggers import Trigger

REFERENCES = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A sanitized model, the trigger it was freed of, and images (N, C, H, W) in [0, 1] with labels (N,).

    A probe works with `work` and is measured on `held`, which no probe has seen.
    """

    model: Suspect
    trigger: Trigger
    work: Tensor
    work_labels: Tensor
    held: Tensor
    held_labels: Tensor
    targets: frozenset[int]
    seed: int

    @property
    def references(self) -> list[int]:
        """Up to three classes, drawn by seed, of which none was the target of a trigger, nor the one class the
        trigger works on."""
        sources = self.trigger.source_classes
        taken = self.targets | {self.trigger.target_class} | (set(sources) if len(sources) == 1 else set())
        others = [k for k in range(self.model.num_classes) if k not in taken]
        drawn = np.random.default_rng(self.seed).permutation(others)[:REFERENCES]
        return sorted(int(k) for k in drawn)

    def eligible(self, labels_N: Tensor, target: int) -> Tensor:
        """Which images (N,) the trigger could turn to `target`: of another class, and of a source class if it names some."""
        chosen = labels_N != target
        if self.trigger.source_classes:
            chosen &= torch.isin(labels_N, torch.tensor(self.trigger.source_classes))
        return chosen
