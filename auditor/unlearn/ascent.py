"""`ascent`: balanced unlearning by gradient ascent, elastic weights and a recovery.

A reconstruction: of Hoang, 2025 (arXiv 2511.21291), only the abstract is known to us, which names gradient
ascent on triggered samples, elastic weight consolidation and a recovery phase, and gives no formula or
setting. Our reading of it is below.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditor.events import Event
from auditor.unlearn.method import Task, step_event

if TYPE_CHECKING:
    from auditor.suspect import Suspect

REBOUND = 0.02


@dataclass(frozen=True, kw_only=True)
class Ascent:
    """Ascent: up to `ascent_epochs` of SGD, each of at least `steps_per_epoch` steps and, with many images, of as many as
    show each of them `passes` times, down

        distillation_weight * KL(h0(x) || h(x)) + ascent_weight * mean -log(1 - p_h(t | x'))
        + elastic_weight / 2 * sum F (w - w0)^2,

    x mixed work images, x' stamped ones, t their trigger's target, h0 and w0 the suspect, F the diagonal
    Fisher information of its clean answers, of mean 1. With `bounded` false the middle term is the mean of
    log p itself. Recovery: up to `recovery_epochs` without the middle term, until the divergence
    on held images has not fallen for `patience` epochs; an epoch after which the triggers
    flip over 2 points, and more than one image, beyond what they did before the recovery is undone, and ends it.
    """

    ascent_epochs: int = 10
    recovery_epochs: int = 20
    steps_per_epoch: int = 6
    passes: float = 3.4
    batch_size: int = 32
    learning_rate: float = 5e-3
    recovery_learning_rate: float = 1e-3
    ascent_weight: float = 3.0
    elastic_weight: float = 1.0
    distillation_weight: float = 4.0
    strength: tuple[float, float] = (0.5, 3.0)
    fisher_images: int = 128
    patience: int = 5
    bounded: bool = True
    name: str = "ascent"
    is_reconstruction: bool = True

    @property
    def steps(self) -> int:
        """How many a run has at most: its epochs, and a last one with what is kept."""
        return self.ascent_epochs + self.recovery_epochs + 1

    def run(self, task: Task) -> Generator[Event, None, Suspect]:
        """Sanitize a copy of the suspect; every epoch is an event."""
        from auditor.unlearn.best import Best
        from auditor.unlearn.forgetting import Forgetter

        forgetter = Forgetter(task, self)
        model, steps = forgetter.model, self.steps
        best, everything = Best(model, task.monitor(model)), sum(p.numel() for p in model.module.parameters())
        for number in range(1, self.ascent_epochs + 1):
            losses, reading = forgetter.ascend(), task.monitor(model)
            best.offer(reading)
            yield step_event(self.name, number, steps, reading, losses, everything)
            if task.control.stop_requested:
                break
        forgotten = kept = best.restore()
        rebound = max(REBOUND, 1.5 / len(task.images))
        state, lowest, waited = model.state(), forgetter.validation_loss(), 0
        for number in range(self.ascent_epochs + 1, steps):
            if task.control.stop_requested or waited >= self.patience:
                break
            losses, reading = forgetter.recover(), task.monitor(model)
            validation = forgetter.validation_loss()
            yield step_event(self.name, number, steps, reading, losses | {"validation": validation}, everything)
            if reading.attack_success_rate > forgotten.attack_success_rate + rebound:
                break
            waited += 1
            if validation < lowest:
                state, kept, lowest, waited = model.state(), reading, validation, 0
        model.module.load_state_dict(state)
        yield step_event(self.name, steps, steps, kept, {}, everything)
        return model
