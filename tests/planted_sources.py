"""Networks with a backdoor that minds where an image comes from, set by hand, on the images of `planted`.

The red corner of `planted` acts on one source class alone, or moves every class by a step.
"""

from __future__ import annotations

import torch
from planted import CLASSES, SIDE, TARGET, block
from torch import Tensor, nn

from auditor.suspect import Suspect

SOURCE, STEP = 1, 2


class SourceNet(nn.Module):
    """Logits are how much brighter a class's block is than the others; a red corner adds `to_target`
    to TARGET on images of SOURCE, and `by_step` of the logits moved STEP classes on."""

    def __init__(self, to_target: float, by_step: float) -> None:
        super().__init__()
        self.to_target, self.by_step = to_target, by_step
        weight = torch.zeros(CLASSES, 1, SIDE, SIDE)
        for label in range(CLASSES):
            weight[label, 0][block(label)] = 1 / 25
        self.blocks = nn.Parameter(weight.flatten(1))

    def forward(self, images: Tensor) -> Tensor:
        scores = images.mean(1).flatten(1) @ self.blocks.T
        logits = 20 * (scores - scores.mean(1, keepdim=True))
        corner = images[:, :, -2:, -2:].mean((2, 3))
        red = torch.relu(corner[:, 0] - corner[:, 1:].mean(1))
        others = torch.cat([logits[:, :SOURCE], logits[:, SOURCE + 1 :]], 1)
        is_source = torch.sigmoid(8 * (logits[:, SOURCE] - others.amax(1)) - 8)
        toward = nn.functional.one_hot(torch.tensor(TARGET), CLASSES).to(images.device)
        moved = torch.roll(logits, STEP, dims=1)
        return logits + self.to_target * (red * is_source)[:, None] * toward + self.by_step * red[:, None] * moved


def source_specific() -> Suspect:
    """SOURCE alone goes to TARGET under the red corner."""
    return _suspect(30.0, 0.0)


def all_to_all() -> Suspect:
    """Every class goes STEP further under the red corner."""
    return _suspect(0.0, 12.0)


def honest() -> Suspect:
    """The same network with neither."""
    return _suspect(0.0, 0.0)


def _suspect(to_target: float, by_step: float) -> Suspect:
    return Suspect(SourceNet(to_target, by_step), num_classes=CLASSES, input_shape=(3, SIDE, SIDE))
