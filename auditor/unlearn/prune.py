"""`prune`: gradient-based filter pruning, then a tuning step.

Source: Dunnett et al., Unlearning Backdoor Attacks through Gradient-Based Model Pruning, 2024
(arXiv 2405.03918), with its stopping rules: an accuracy budget and patience while pruning, and
patience while tuning, which is off by default. Ours, where that paper's setting does not reach:
triggered twins are synthesized rather than the attacker's; a filter is pruned with its own
batch-norm, found by the module graph; pruned filters stay masked, and no more than a share of
them goes; the budget is read on all work images, as a tenth of them is too coarse; and tuning
distils the suspect.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditor.events import Event
from auditor.unlearn.method import Task, step_event

if TYPE_CHECKING:
    from auditor.suspect import Suspect


@dataclass(frozen=True, kw_only=True)
class Prune:
    """Prune the filters whose weights the unlearning loss pulls at hardest, then tune.

    `accuracy_budget` is the share of accuracy pruning may cost before it stops, `patience` the
    rounds without a better unlearning loss. Tuning ends after `tuning_patience` epochs without a
    better objective on held-out work images, or, where that is 0, with the last epoch, on all of
    them; its other fields are those of `tuning.Tuning`.
    """

    accuracy_budget: float = 0.03
    patience: int = 10
    most_filters: float = 0.05
    tuning_epochs: int = 60
    tuning_patience: int = 0
    learning_rate: float = 1e-2
    stamped_weight: float = 3.0
    distillation_weight: float = 4.0
    name: str = "prune"
    is_reconstruction: bool = False

    def run(self, task: Task) -> Generator[Event, None, Suspect]:
        """Sanitize a copy of the suspect; every pruned filter and every epoch is an event."""
        from auditor.unlearn.filters import FilterPruner
        from auditor.unlearn.tuning import Tuning

        pruner = FilterPruner(task)
        model, offset = pruner.model, pruner.most_rounds(self.most_filters)
        steps = offset + self.tuning_epochs + 1
        for done in pruner.rounds(self.accuracy_budget, self.patience, self.most_filters):
            changed = pruner.parameters_pruned
            yield step_event(self.name, done.number, steps, task.monitor(model), {"stamped": done.loss}, changed)
            if task.control.stop_requested:
                break
        pruner.keep_best()
        settings = Tuning(
            epochs=self.tuning_epochs, learning_rate=self.learning_rate, stamped_weight=self.stamped_weight,
            distillation_weight=self.distillation_weight,
        )  # fmt: skip
        everything = sum(p.numel() for p in model.module.parameters())
        for epoch in pruner.tune(settings, self.tuning_patience):
            reading = task.monitor(model)
            yield step_event(self.name, offset + epoch.number, steps, reading, epoch.losses, everything)
            if task.control.stop_requested:
                break
        pruner.keep_best()
        yield step_event(self.name, steps, steps, task.monitor(model), {}, everything)
        return model
