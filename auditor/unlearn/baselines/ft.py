"""`ft`: plain fine-tuning on clean images, the baseline of every removal paper.

Published setting: that of the comparisons in Zhu et al., ICCV 2023, and BackdoorBench (Wu et al.,
NeurIPS 2022). Images are shifted, not mirrored: a mirrored traffic sign is another sign.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditor.events import Event
from auditor.unlearn.method import Task, step_event

if TYPE_CHECKING:
    from auditor.suspect import Suspect
    from auditor.unlearn.baselines.fine_tuning import Gradients


@dataclass(frozen=True, kw_only=True)
class Ft:
    """SGD on the cross-entropy of the work images, every layer, with a cosine schedule.

    `frozen_statistics` keeps the batch-norms' running statistics, and normalises by them; gradients
    are clipped to a norm of `clip_norm`, where that is not 0.
    """

    epochs: int = 60
    learning_rate: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 16
    frozen_statistics: bool = False
    clip_norm: float = 0.0
    name: str = "ft"
    is_reconstruction: bool = False

    def run(self, task: Task) -> Generator[Event, None, Suspect]:
        """Sanitize a copy of the suspect; every epoch is an event."""
        from auditor.unlearn.baselines.fine_tuning import FineTuner

        tuner = FineTuner(task, self, self._gradients())
        for epoch in range(1, self.epochs + 1):
            losses = tuner.epoch()
            yield step_event(self.name, epoch, self.epochs, task.monitor(tuner.model), losses, tuner.parameters_changed)
            if task.control.stop_requested:
                break
        return tuner.model

    def _gradients(self) -> Gradients:
        from auditor.unlearn.baselines.fine_tuning import plain

        return plain


FT_PUBLISHED = Ft(epochs=100, learning_rate=0.01, batch_size=256)
