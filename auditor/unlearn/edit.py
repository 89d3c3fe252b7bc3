"""`edit`: activation-guided editing, then repair of what the target class lost.

A reconstruction: the source gives no equations that are public to us. Source of the idea: Hsieh et al., Data-efficient
unlearning by activation-guided model editing, 2024 (arXiv 2407.07662). Our reading: the weights that leave a channel are
scaled, all alike, by what activations on the images to forget and to retain say. Where the trigger is known, even
inexactly, the same image is seen with and without it, and least squares say by how much; where only the target class
is, channels that its images excite and others do not are scaled down.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from auditor.events import Event
from auditor.unlearn.method import Task, counted, step_event
from auditor.unlearn.refit import Refit

if TYPE_CHECKING:
    from auditor.suspect import Suspect

BISECTIONS = 4


@dataclass(frozen=True, kw_only=True)
class Edit(Refit):
    """To `forget` are "triggered" twins or, without knowledge of a backdoor but its target, clean images of the "target"
    class.

    Triggered: from the first layer to the last, the weights W that leave each place of a channel's kernel are scaled by
    the s with the least

        mean |W (s x) - y|^2 + weight * mean |W (s x') - y'|^2 + ridge * scale * |s - 1|^2,

    x, x', y, y' and the fields up to `stamped_images` as for `refit`, scale the mean square of what one input adds.

    Target: the weights that leave channel j are scaled by 1 - lam * clip((f - r) / (f + eps), 0, 1), where f > gamma * r; f
    and r are its mean activations on images to forget and to retain. Edits run over `gammas` and `lams` from small to
    large, over the last `layers` layers, until the triggers flip at most `enough` of the work images at no more than
    `accuracy_budget` lost.

    With `refresh_statistics`, batch-norms' running statistics are taken anew from the clean work images. Repair, when a
    target class lost recall: the least share of the edit that suffices, by bisection (a target's: triggers flip at most
    `enough`; a fitted one's: no more than by the whole edit), then up to `repair_steps` of SGD on the edited layers.
    """

    weight: float = 3.0
    ridge: float = 0.01
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
        """Sanitize a copy of the suspect; layers, or every edit tried, are events.

        Raises UsageError when the target class is to be forgotten and no work image shows it, or all do.
        """
        from auditor.unlearn.repair import Repair
        from auditor.unlearn.solving import scaled_weights

        edit = self._contrast(task) if self.forget == "target" else self.layer_by_layer(task, scaled_weights)
        model, steps = yield from counted(edit, self.name, 0, 1)
        repair = Repair(task, model, stamped=self.forget == "triggered")
        if self.refresh_statistics:
            repair.refresh_statistics()
        if repair.is_needed():
            # A fitted edit far stronger than the inexact triggers ask for is what the true one takes.
            flips = task.monitor(model).attack_success_rate
            repair.weaken(self.enough if self.forget == "target" else flips, BISECTIONS)
        if repair.is_needed():
            repair.tune(self.repair_steps, self.repair_learning_rate, self.enough)
        yield step_event(self.name, steps + 1, steps + 1, task.monitor(model), {}, repair.parameters_changed())
        return model

    def _contrast(self, task: Task) -> Generator[Event, None, Suspect]:
        """The best edit of those that scale down what the target class excites; none where each costs too much."""
        from auditor.unlearn.activations import Editor, Setting

        editor = Editor(task)
        best, best_loss = Setting(layers=0, gamma=1.0, lam=0.0), float("inf")
        trials = [Setting(k, g, m) for k in self.layers for g in self.gammas for m in self.lams]
        before = task.monitor(task.suspect)
        for step, setting in enumerate(trials, start=1):
            changed = editor.edit(setting)
            reading = task.monitor(editor.model)
            lost = before.clean_accuracy - reading.clean_accuracy
            loss = reading.attack_success_rate + 2 * max(0.0, lost)
            yield step_event(self.name, step, len(trials), reading, {"asr_plus_loss": loss}, changed)
            if loss < best_loss and lost <= self.accuracy_budget:
                best, best_loss = setting, loss
            good = reading.attack_success_rate <= self.enough and lost <= self.accuracy_budget
            if good or task.control.stop_requested:
                break
        editor.edit(best)
        return editor.model
