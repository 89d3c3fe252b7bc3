"""SAU's inner loss and its divergence, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from auditor.shared_loss import jensen_shannon, shared_loss


def logits(*shares: float) -> Tensor:
    return torch.tensor([shares]).log()


def test_jensen_shannon_by_hand() -> None:
    assert jensen_shannon(logits(0.5, 0.5), logits(0.5, 0.5)).item() == pytest.approx(0, abs=1e-7)
    apart = jensen_shannon(torch.tensor([[200.0, 0.0]]), torch.tensor([[0.0, 200.0]]))
    assert apart.item() == pytest.approx(math.log(2))
    # The mean of (1/2, 1/2) and (1/4, 3/4) is (3/8, 5/8).
    to_p = 0.5 * math.log(4 / 3) + 0.5 * math.log(4 / 5)
    to_q = 0.25 * math.log(2 / 3) + 0.75 * math.log(6 / 5)
    found = jensen_shannon(logits(0.5, 0.5), logits(0.25, 0.75))
    assert found.item() == pytest.approx((to_p + to_q) / 2, rel=1e-5)


def test_jensen_shannon_is_symmetric_bounded_and_smooth_at_extremes() -> None:
    generator = torch.Generator().manual_seed(0)
    first = (100 * torch.randn(50, 7, generator=generator)).requires_grad_(True)
    second = 100 * torch.randn(50, 7, generator=generator)
    found = jensen_shannon(first, second)
    torch.testing.assert_close(found, jensen_shannon(second, first))
    assert found.min() >= -1e-6 and found.max() <= math.log(2) + 1e-5
    assert torch.isfinite(torch.autograd.grad(found.sum(), first)[0]).all()


def test_the_loss_by_hand() -> None:
    """Neither fooled, one fooled, both to the same class, both to different ones; label 0, three classes."""
    first = torch.tensor([[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.6, 0.2], [0.2, 0.6, 0.2]]).log()
    second = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.3, 0.5, 0.2], [0.3, 0.2, 0.5]]).log()
    clean = torch.zeros(4, dtype=torch.int64)

    loss, shared = shared_loss(first, second, clean, clean, clean, adversarial_weight=0.1, shared_weight=2.0)

    divergence = jensen_shannon(first, second)
    attack = torch.tensor([-math.log(0.6) - math.log(0.5), -math.log(0.5), 0.0, 0.0])
    assert shared.tolist() == [False, False, True, False]
    torch.testing.assert_close(loss, -0.05 * attack + 2 * divergence * ~shared)
    assert loss[2] == 0
