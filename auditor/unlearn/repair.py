"""Mending what an edit of the weights left askew (see `edit`)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auditor.adversarial import fast_math, images_at_once
from auditor.suspect import Suspect
from auditor.unlearn.method import Task
from auditor.unlearn.tuning import stamp_jittered, trainable

BATCH = 32
RECALL_LOST = 0.03


class Repair:
    """Mends an edited copy of the suspect, in place: recall of the target class that it lost, and batch-norm statistics.

    With `stamped`, work images stamped by the triggers are practised beside the plain ones.
    """

    def __init__(self, task: Task, model: Suspect, *, stamped: bool) -> None:
        self.task, self.model = task, model
        self.original = (task.begun or task.suspect).state()
        self.generator = torch.Generator().manual_seed(task.seed)
        images, labels = task.images.to(model.device), task.labels.to(model.device)
        twins = stamp_jittered(images, task.triggers, (1.0, 1.3), self.generator) if stamped else images[:0]
        self.practised, self.answers = torch.cat([images, twins]), labels.repeat(2)[: len(images) + len(twins)]

    def is_needed(self) -> bool:
        """Whether the target classes lost more recall on work images than they may, and more than one image by chance."""
        own = torch.isin(self.task.labels, torch.tensor([t.target_class for t in self.task.triggers]))
        if not bool(own.any()):
            return False
        images, labels = self.task.images[own], self.task.labels[own].numpy()
        lost = int((self.task.suspect.predict(images) == labels).sum() - (self.model.predict(images) == labels).sum())
        return lost > max(1, RECALL_LOST * len(labels))

    def weaken(self, enough: float, bisections: int) -> None:
        """Go back toward the original as far as the triggers flip at most `enough`, to within 2^-bisections of the way.

        The model stays as it is where no weaker edit suffices.
        """
        edited = self.model.state()
        low, high = 0.0, 1.0
        for _ in range(bisections):
            middle = (low + high) / 2
            self._go(edited, middle)
            low, high = (low, middle) if self._suffices(enough) else (middle, high)
        self._go(edited, high)

    def tune(self, steps: int, learning_rate: float, enough: float) -> None:
        """A few SGD steps on the weights that were edited; undone when the triggers work again."""
        before = self.model.state()
        edited = [p for name, p in self.model.module.named_parameters() if not torch.equal(p, self.original[name])]
        if not edited:
            return
        optimizer = torch.optim.SGD(edited, lr=learning_rate, momentum=0.9)
        for _ in range(steps):
            picks = torch.randint(0, len(self.answers), (BATCH,), generator=self.generator).to(self.answers.device)
            with trainable(self.model):
                with fast_math(self.model):
                    logits = self.model(self.practised[picks]).float()
                loss = F.cross_entropy(logits, self.answers[picks])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if not self._suffices(enough):
            self.model.module.load_state_dict(before)

    def refresh_statistics(self) -> None:
        """Running statistics of every batch-norm, those of the clean work images in the edited network."""
        norms = [m for m in self.model.module.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
        norms = [norm for norm in norms if norm.track_running_stats]
        images = self.task.images.to(self.model.device)
        if len(images) < 2:
            return  # one image has no variance
        momenta = [norm.momentum for norm in norms]
        try:
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # the mean over the parts, each weighing as much
                norm.train()
            parts = torch.tensor_split(images, math.ceil(len(images) / images_at_once(self.model)))
            for part in parts:
                self.model.logits(part, batch_size=len(part))
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
                norm.eval()

    def parameters_changed(self) -> int:
        """How many weights differ from the suspect's."""
        return sum(int((value != self.original[name]).sum()) for name, value in self.model.module.state_dict().items())

    def _suffices(self, enough: float) -> bool:
        return self.task.monitor(self.model).attack_success_rate <= enough

    def _go(self, edited: dict[str, Tensor], share: float) -> None:
        """So much of the way from the original to the edited model; counters stay the original's."""
        between = {name: old + share * (edited[name] - old) if old.is_floating_point() else old for name, old in self.original.items()}
        self.model.module.load_state_dict(between)
