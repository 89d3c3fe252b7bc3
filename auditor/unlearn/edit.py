"""`edit`: activation-guided editing of the later layers, then repair.

A reconstruction: the source gives no equations that are public to us. Source of the idea:
Hsieh et al., Data-efficient unlearning by activation-guided model editing, 2024
(arXiv 2407.07662). Our reading: channels that triggered twins excite and clean images do not
have their outgoing weights scaled down; the smallest edit that suffices is kept.
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
class Edit:
    """Scale the outgoing weights of channel j by 1 - lam * clip((f - r) / (f + eps), 0, 1), where
    f > gamma * r; f and r are its mean activations on triggered twins and on clean images.

    Edits run over `gammas` and `lams` from small to large, over the last `layers` layers, until
    the triggers flip at most `enough` of the work images at no more than `accuracy_budget` lost.
    Repair: up to `repair_steps` of SGD on the edited layers when the target class lost recall.
    """

    gammas: tuple[float, ...] = (2.0, 1.5, 1.2)
    lams: tuple[float, ...] = (0.5, 0.75, 1.0)
    layers: tuple[int, ...] = (1, 2, 4)
    enough: float = 0.1
    accuracy_budget: float = 0.03
    repair_steps: int = 50
    repair_learning_rate: float = 1e-4
    name: str = "edit"
    is_reconstruction: bool = True

    def run(self, task: Task) -> Generator[Event, None, Suspect]:
        """Sanitize a copy of the suspect; every edit tried is an event."""
        from auditor.unlearn.activations import Editor

        editor = Editor(task)
        best, best_loss = editor.model.state(), float("inf")
        steps = len(self.layers) * len(self.gammas) * len(self.lams) + 1
        trials = ((k, g, m) for k in self.layers for g in self.gammas for m in self.lams)
        before = task.monitor(task.suspect)
        for step, (layers, gamma, lam) in enumerate(trials, start=1):
            changed = editor.edit(layers, gamma, lam)
            reading = task.monitor(editor.model)
            lost = before.clean_accuracy - reading.clean_accuracy
            loss = reading.attack_success_rate + 2 * max(0.0, lost)
            yield step_event(self.name, step, steps, reading, {"asr_plus_loss": loss}, changed)
            if loss < best_loss and lost <= self.accuracy_budget:
                best, best_loss = editor.model.state(), loss
            good = reading.attack_success_rate <= self.enough and lost <= self.accuracy_budget
            if good or task.control.stop_requested:
                break
        editor.model.module.load_state_dict(best)
        if editor.target_recall_lost() > 0.03:
            editor.repair(self.repair_steps, self.repair_learning_rate, self.enough)
        yield step_event(self.name, steps, steps, task.monitor(editor.model), {}, editor.parameters_changed())
        return editor.model
