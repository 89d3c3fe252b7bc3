"""Scaling down what images to forget excite and images to retain do not (see `edit`).

Legend: N images, I input channels of one layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auditor.adversarial import fast_math, images_at_once
from auditor.errors import UsageError
from auditor.unlearn.method import Task
from auditor.unlearn.tuning import stamp_jittered, trainable

Editable = nn.Conv2d | nn.Linear
EPSILON = 1e-3
REPAIR_BATCH = 32


@dataclass(frozen=True)
class Setting:
    """One edit: of the last `layers` layers, where f > gamma * r, by the share lam (see `edit.Edit`)."""

    layers: int
    gamma: float
    lam: float


class Editor:
    """Edits a copy of the suspect, always from its original weights.

    An edit acts on the inputs of a layer: scaling the weights that leave a channel.
    """

    def __init__(
        self, task: Task, forget: Literal["triggered", "target"] = "triggered", refresh_statistics: bool = False
    ) -> None:
        self.task, self.model, self.refresh = task, task.begin(), refresh_statistics
        self.original = self.model.state()
        generator = torch.Generator().manual_seed(task.seed)
        images = task.images.to(self.model.device)
        of_target = torch.isin(task.labels, torch.tensor([t.target_class for t in task.triggers]))
        self.of_target = of_target.to(images.device)
        if forget == "target":
            if of_target.all() or not of_target.any():
                raise UsageError("Forgetting the target class takes clean images of it and of other classes.",
                                 'Add such images, or use Edit(forget="triggered").')  # fmt: skip
            self.forgotten, self.retained = images[self.of_target], images[~self.of_target]
            self.practised, self.answers = images, task.labels.to(images.device)
        else:
            self.forgotten = stamp_jittered(images, task.triggers, (1.0, 1.3), generator)
            self.retained = images
            self.practised, self.answers = torch.cat([images, self.forgotten]), task.labels.to(images.device).repeat(2)
        self.layers = [(name, m) for name, m in self.model.module.named_modules() if isinstance(m, Editable)]
        self.retain, self.forget = self._activations(self.retained), self._activations(self.forgotten)
        self.layers = [(name, m) for name, m in self.layers if name in self.retain]

    def edit(self, setting: Setting) -> int:
        """Make one edit of the original model; returns the weights changed."""
        self.undo()
        changed = 0
        with torch.no_grad():
            for name, layer in self.layers[-setting.layers :]:
                forget, retain = self.forget[name], self.retain[name]
                excess = ((forget - retain) / (forget + EPSILON)).clamp(0, 1)
                chosen = forget > setting.gamma * retain + EPSILON
                scale = torch.where(chosen, 1 - setting.lam * excess, torch.ones_like(excess))
                shape = (1, -1, 1, 1) if isinstance(layer, nn.Conv2d) else (1, -1)
                layer.weight *= scale.view(shape)
                changed += int((scale != 1).sum()) * layer.weight[:, 0].numel()
        if self.refresh:
            self._refresh_statistics()
        return changed

    def undo(self) -> None:
        """Go back to the original model."""
        self.model.module.load_state_dict(self.original)

    def weaken(self, setting: Setting, enough: float, bisections: int) -> None:
        """Make the edit with the least lam, to within lam / 2^bisections, whose triggers flip at most `enough`.

        It stays at the full lam where no weaker one suffices.
        """
        low, high = 0.0, setting.lam
        for _ in range(bisections):
            middle = (low + high) / 2
            self.edit(replace(setting, lam=middle))
            suffices = self.task.monitor(self.model).attack_success_rate <= enough
            low, high = (low, middle) if suffices else (middle, high)
        self.edit(replace(setting, lam=high))

    def target_recall_lost(self) -> float:
        """How much recall of the target classes the edit cost on work images; 0 without such images."""
        own = self.of_target.cpu()
        if not bool(own.any()):
            return 0.0
        images, labels = self.task.images[own], self.task.labels[own].numpy()
        return float((self.task.suspect.predict(images) == labels).mean() - (self.model.predict(images) == labels).mean())

    def repair(self, steps: int, learning_rate: float, enough: float) -> None:
        """A few SGD steps on the edited layers; undone when the triggers work again."""
        before = self.model.state()
        edited = [layer.weight for name, layer in self.layers if not torch.equal(before[f"{name}.weight"],
                                                                               self.original[f"{name}.weight"])]  # fmt: skip
        if not edited:
            return
        optimizer = torch.optim.SGD(edited, lr=learning_rate, momentum=0.9)
        generator = torch.Generator().manual_seed(self.task.seed)
        for _ in range(steps):
            picks = torch.randint(0, len(self.answers), (REPAIR_BATCH,), generator=generator).to(self.answers.device)
            with trainable(self.model):
                with fast_math(self.model):
                    logits = self.model(self.practised[picks]).float()
                loss = F.cross_entropy(logits, self.answers[picks])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if self.task.monitor(self.model).attack_success_rate > enough:
            self.model.module.load_state_dict(before)

    def parameters_changed(self) -> int:
        """How many weights differ from the suspect's."""
        now = self.model.module.state_dict()
        return sum(int((now[name] != value).sum()) for name, value in self.original.items())

    def _refresh_statistics(self) -> None:
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

    def _activations(self, images: Tensor) -> dict[str, Tensor]:
        """Mean magnitude (I,) of each editable layer's inputs over images and places.

        Layers with grouped inputs (depthwise convolutions) are left out: their weights do not
        leave a channel for others.
        """
        totals: dict[str, Tensor] = {}

        def record(name: str, layer: Editable, inputs: tuple[Tensor, ...]) -> None:
            seen = inputs[0].detach().abs()
            channel = seen.mean((0, 2, 3)) if isinstance(layer, nn.Conv2d) else seen.flatten(0, -2).mean(0)
            totals[name] = totals.get(name, torch.zeros_like(channel)) + channel

        handles = [
            layer.register_forward_pre_hook(lambda m, inputs, name=name: record(name, m, inputs))
            for name, layer in self.layers
            if not (isinstance(layer, nn.Conv2d) and layer.groups > 1)
        ]
        try:
            self.model.predict(images, batch_size=len(images))
        finally:
            for handle in handles:
                handle.remove()
        return totals
