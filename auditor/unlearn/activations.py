"""Scaling down what images of the target class excite and those of others do not (see `edit`).

Legend: N images, I input channels of one layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from auditor.errors import UsageError
from auditor.unlearn.method import Task

Editable = nn.Conv2d | nn.Linear
EPSILON = 1e-3


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

    def __init__(self, task: Task) -> None:
        self.model = task.begin()
        self.original = self.model.state()
        images = task.images.to(self.model.device)
        of_target = torch.isin(task.labels, torch.tensor([t.target_class for t in task.triggers])).to(images.device)
        if of_target.all() or not of_target.any():
            raise UsageError("Forgetting the target class takes clean images of it and of other classes.",
                             'Add such images, or use Edit(forget="triggered").')  # fmt: skip
        self.layers = [(name, m) for name, m in self.model.module.named_modules() if isinstance(m, Editable)]
        self.forget, self.retain = self._activations(images[of_target]), self._activations(images[~of_target])
        self.layers = [(name, m) for name, m in self.layers if name in self.retain]

    def edit(self, setting: Setting) -> int:
        """Make one edit of the original model; returns the weights changed."""
        self.undo()
        changed = 0
        with torch.no_grad():
            for name, layer in self.layers[max(0, len(self.layers) - setting.layers) :]:
                forget, retain = self.forget[name], self.retain[name]
                excess = ((forget - retain) / (forget + EPSILON)).clamp(0, 1)
                chosen = forget > setting.gamma * retain + EPSILON
                scale = torch.where(chosen, 1 - setting.lam * excess, torch.ones_like(excess))
                shape = (1, -1, 1, 1) if isinstance(layer, nn.Conv2d) else (1, -1)
                layer.weight *= scale.view(shape)
                changed += int((scale != 1).sum()) * layer.weight[:, 0].numel()
        return changed

    def undo(self) -> None:
        """Go back to the original model."""
        self.model.module.load_state_dict(self.original)

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
