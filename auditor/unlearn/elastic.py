"""Elastic weight consolidation: weights that matter for clean answers are held near the suspect's.

Source: Kirkpatrick et al., Overcoming catastrophic forgetting in neural networks, PNAS 2017. Ours:
the penalty is applied as a proximal step. Its gradient diverges where learning rate * strength *
Fisher exceeds 2, and a Fisher diagonal of mean 1 has entries in the thousands.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from auditor.suspect import Suspect
from auditor.unlearn.tuning import trainable


class Elastic:
    """Springs from each parameter of `model` to where it is now, as stiff as its Fisher information."""

    def __init__(self, model: Suspect, fisher: dict[str, Tensor]) -> None:
        self.model, self.fisher = model, fisher
        self.anchor = {name: value.detach().clone() for name, value in model.module.named_parameters()}

    def penalty(self) -> float:
        """Half the sum of Fisher * (parameter - anchor)^2."""
        named = self.model.module.named_parameters()
        return sum(float((self.fisher[name] * (p.detach() - self.anchor[name]) ** 2).sum()) for name, p in named) / 2

    def pull(self, strength: float) -> None:
        """The parameters that minimise half their squared move plus `strength` times the penalty."""
        with torch.no_grad():
            for name, parameter in self.model.module.named_parameters():
                moved = parameter - self.anchor[name]
                parameter.copy_(self.anchor[name] + moved / (1 + strength * self.fisher[name]))


def fisher_diagonal(model: Suspect, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The mean over images of the squared gradient of log p(label | image), scaled to mean 1 over all parameters.

    `images` (N, C, H, W) in [0, 1], `labels` (N,). Image by image, since a batch's gradient squared
    is no sum of squares; full precision, since squares of small gradients vanish in less.
    All ones where every gradient is zero.
    """
    named = dict(model.module.named_parameters())
    sums = {name: torch.zeros_like(parameter) for name, parameter in named.items()}
    with trainable(model):
        for image, label in zip(torch.split(images.to(model.device), 1), torch.split(labels.to(model.device), 1), strict=True):
            loss = F.cross_entropy(model(image).float(), label)
            # An auxiliary head is not part of the forward pass; its parameters get zeros.
            gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True, materialize_grads=True)
            for total, gradient in zip(sums.values(), gradients, strict=True):
                total += gradient**2
    mean = sum(float(total.sum()) for total in sums.values()) / max(1, sum(p.numel() for p in named.values()))
    return {name: total / mean if mean > 0 else torch.ones_like(total) for name, total in sums.items()}
