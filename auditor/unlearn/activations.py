"""Scaling down what triggered twins excite and clean images do not (see `edit`).

Legend: N images, I input channels of one layer.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auditor.adversarial import fast_math
from auditor.unlearn.method import Task
from auditor.unlearn.tuning import stamp_jittered, trainable

Editable = nn.Conv2d | nn.Linear
EPSILON = 1e-3
REPAIR_BATCH = 32


class Editor:
    """Edits a copy of the suspect, always from its original weights.

    An edit acts on the inputs of a layer: scaling the weights that leave a channel.
    """

    def __init__(self, task: Task) -> None:
        self.task, self.model = task, task.suspect.clone()
        self.original = self.model.state()
        generator = torch.Generator().manual_seed(task.seed)
        images = task.images.to(self.model.device)
        self.stamped = stamp_jittered(images, task.triggers, (1.0, 1.3), generator)
        self.layers = [(name, m) for name, m in self.model.module.named_modules() if isinstance(m, Editable)]
        clean, triggered = self._activations(images), self._activations(self.stamped)
        self.layers = [(name, m) for name, m in self.layers if name in clean]
        self.clean, self.triggered = clean, triggered

    def edit(self, layers: int, gamma: float, lam: float) -> int:
        """Edit the last `layers` layers of the original model; returns the weights changed."""
        self.model.module.load_state_dict(self.original)
        changed = 0
        with torch.no_grad():
            for name, layer in self.layers[-layers:]:
                forget, retain = self.triggered[name], self.clean[name]
                excess = ((forget - retain) / (forget + EPSILON)).clamp(0, 1)
                scale = torch.where(forget > gamma * retain + EPSILON, 1 - lam * excess, torch.ones_like(excess))
                shape = (1, -1, 1, 1) if isinstance(layer, nn.Conv2d) else (1, -1)
                layer.weight *= scale.view(shape)
                changed += int((scale != 1).sum()) * layer.weight[:, 0].numel()
        return changed

    def target_recall_lost(self) -> float:
        """How much recall of the target classes the edit cost on work images; 0 without such images."""
        own = torch.isin(self.task.labels, torch.tensor([t.target_class for t in self.task.triggers]))
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
        both = torch.cat([self.task.images.to(self.model.device), self.stamped])
        labels = self.task.labels.to(self.model.device).repeat(2)
        generator = torch.Generator().manual_seed(self.task.seed)
        for _ in range(steps):
            picks = torch.randint(0, len(both), (REPAIR_BATCH,), generator=generator).to(both.device)
            with trainable(self.model):
                with fast_math(self.model):
                    logits = self.model(both[picks]).float()
                loss = F.cross_entropy(logits, labels[picks])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if self.task.monitor(self.model).attack_success_rate > enough:
            self.model.module.load_state_dict(before)

    def parameters_changed(self) -> int:
        """How many weights differ from the suspect's."""
        now = self.model.module.state_dict()
        return sum(int((now[name] != value).sum()) for name, value in self.original.items())

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
