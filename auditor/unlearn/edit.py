"""`edit`: activation-guided editing of the later layers, then repair.

A reconstruction: the source gives no equations that are public to us. Source of the idea:
Hsieh et al., Data-efficient unlearning by activation-guided model editing, 2024
(arXiv 2407.07662). Our reading: channels that the images to forget excite and those to retain do
not have their outgoing weights scaled down; the smallest edit that suffices is kept.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from auditor.events import Event
from auditor.unlearn.method import Task, step_event

if TYPE_CHECKING:
    from auditor.suspect import Suspect
    from auditor.unlearn.activations import Editor, Setting

RECALL_LOST = 0.03
BISECTIONS = 4


@dataclass(frozen=True, kw_only=True)
class Edit:
    """Scale the outgoing weights of channel j by 1 - lam * clip((f - r) / (f + eps), 0, 1), where
    f > gamma * r; f and r are its mean activations on images to forget and to retain.

    To `forget` are "triggered" twins, the clean images being retained, or, without knowledge of a
    backdoor but its target, clean images of the "target" class, those of other classes being
    retained; whether an edit suffices is read from the monitor either way. Edits run over `gammas`
    and `lams` from small to large, over the last `layers` layers, until the triggers flip at most
    `enough` of the work images at no more than `accuracy_budget` lost. With `refresh_statistics`,
    batch-norms' running statistics are taken anew from the clean work images after each edit.
    Repair, when a target class lost recall: the least lam that suffices, by bisection, then up
    to `repair_steps` of SGD on the edited layers.
    """

    forget: Literal["triggered", "target"] = "triggered"
    gammas: tuple[float, ...] = (2.0, 1.5, 1.2)
    lams: tuple[float, ...] = (0.5, 0.75, 1.0)
    layers: tuple[int, ...] = (1, 2, 4)
    refresh_statistics: bool = False
    enough: float = 0.1
    accuracy_budget: float = 0.03
    repair_steps: int = 50
    repair_learning_rate: float = 1e-4
    name: str = "edit"
    is_reconstruction: bool = True

    def run(self, task: Task) -> Generator[Event, None, Suspect]:
        """Sanitize a copy of the suspect; every edit tried is an event.

        Raises UsageError when the target class is to be forgotten and no work image shows it, or all do.
        """
        from auditor.unlearn.activations import Editor, Setting

        editor = Editor(task, self.forget, self.refresh_statistics)
        best: Setting | None = None
        best_loss = float("inf")
        steps = len(self.layers) * len(self.gammas) * len(self.lams) + 1
        trials = (Setting(k, g, m) for k in self.layers for g in self.gammas for m in self.lams)
        before = task.monitor(task.suspect)
        for step, setting in enumerate(trials, start=1):
            changed = editor.edit(setting)
            reading = task.monitor(editor.model)
            lost = before.clean_accuracy - reading.clean_accuracy
            loss = reading.attack_success_rate + 2 * max(0.0, lost)
            yield step_event(self.name, step, steps, reading, {"asr_plus_loss": loss}, changed)
            if loss < best_loss and lost <= self.accuracy_budget:
                best, best_loss = setting, loss
            good = reading.attack_success_rate <= self.enough and lost <= self.accuracy_budget
            if good or task.control.stop_requested:
                break
        self._finish(editor, best)
        yield step_event(self.name, steps, steps, task.monitor(editor.model), {}, editor.parameters_changed())
        return editor.model

    def _finish(self, editor: Editor, best: Setting | None) -> None:
        """Make the best edit, none where none was good enough, and repair what the target class lost."""
        if best is None:
            editor.undo()
            return
        editor.edit(best)
        if editor.target_recall_lost() > RECALL_LOST:
            editor.weaken(best, self.enough, BISECTIONS)
        if editor.target_recall_lost() > RECALL_LOST:
            editor.repair(self.repair_steps, self.repair_learning_rate, self.enough)
