"""The inner loss of Shared Adversarial Unlearning, which its search and its removal descend.

It draws two models toward the same wrong class: each model that still gives its own clean answer
is pushed off the label, and while the two do not err alike their predictions are drawn together.

Source: Wei et al., Shared Adversarial Unlearning, NeurIPS 2023 (arXiv 2307.10562).

Legend: N images, K classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def shared_loss(
    first_NK: Tensor, second_NK: Tensor, clean_first: Tensor, clean_second: Tensor, labels: Tensor,
    adversarial_weight: float = 0.01, shared_weight: float = 1.0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The loss (N,) to minimise over each perturbation, and whether both models err alike (N,).

    `clean_first` and `clean_second` (N,) are the models' own answers without a perturbation, and
    logits that differ from them are fooled. An image that is shared has no loss, and no gradient.
    """
    said_first, said_second = first_NK.argmax(1), second_NK.argmax(1)
    fooled_first, fooled_second = said_first != clean_first, said_second != clean_second
    shared = fooled_first & fooled_second & (said_first == said_second)
    attack_first = F.cross_entropy(first_NK, labels, reduction="none") * ~fooled_first
    attack_second = F.cross_entropy(second_NK, labels, reduction="none") * ~fooled_second
    disagree = jensen_shannon(first_NK, second_NK) * ~shared
    loss = -adversarial_weight * 0.5 * (attack_first + attack_second) + shared_weight * disagree
    return loss, shared


def jensen_shannon(first_NK: Tensor, second_NK: Tensor) -> Tensor:
    """Jensen-Shannon divergence (N,) between the distributions of two sets of logits, in nats."""
    p, q = first_NK.softmax(1), second_NK.softmax(1)
    log_mean = (0.5 * (p + q)).clamp_min(1e-12).log()
    to_p = (p * (p.clamp_min(1e-12).log() - log_mean)).sum(1)
    to_q = (q * (q.clamp_min(1e-12).log() - log_mean)).sum(1)
    return 0.5 * (to_p + to_q)
