"""What a sanitized model changed on clean images, on networks small enough to count by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditor.fidelity import belief_lost, changes_by_class, clean_checks, shifts
from auditor.suspect import Suspect


class Bright(nn.Module):
    """Three logits of an image's mean brightness: (weight * mean, 0, -1)."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, images: Tensor) -> Tensor:
        first = self.weight * images.mean((1, 2, 3))
        return torch.stack([first, torch.zeros_like(first), torch.full_like(first, -1.0)], 1)


def suspect(weight: float) -> Suspect:
    return Suspect(Bright(weight), num_classes=3, input_shape=(1, 4, 4))


def test_what_the_suspect_believed_is_what_is_lost() -> None:
    images = torch.ones(2, 1, 4, 4)
    first, second = (math.exp(logit) / (math.e**2 + 1 + 1 / math.e) for logit in (2.0, 0.0))

    lost = belief_lost(suspect(2.0), suspect(-2.0), images)  # every answer goes from class 0 to class 1

    assert lost.shape == (2 * 25,)
    assert lost.numpy() == pytest.approx(first - second, abs=0.01)
    assert float(belief_lost(suspect(2.0), suspect(0.5), images).abs().max()) == 0.0  # less sure, and the same answer


def test_every_shift_comes_once_and_one_is_none() -> None:
    image = torch.arange(16.0).view(1, 1, 4, 4)
    moved = [tuple(x.flatten().tolist()) for x in shifts(image, reach=1)]

    assert len(set(moved)) == 9
    assert tuple(image.flatten().tolist()) in moved
    assert len(list(shifts(torch.zeros(1, 1, 1, 1)))) == 1  # an image too small to be moved


def test_changes_are_counted_class_by_class() -> None:
    before = np.array([True, True, False, True, False])
    after = np.array([False, False, True, True, True])

    assert changes_by_class(before, after, np.array([0, 0, 0, 4, 4])) == {0: (2, 1, 3), 4: (0, 1, 2)}


def failed(wrong: int, right: int, count: int = 30, classes: int = 30, belief: float = 0.0) -> list[str]:
    """The checks that fail when of so many images some are newly wrong and some newly right."""
    before, after = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    before[:wrong], after[wrong : wrong + right] = True, True
    return [check.name for check in clean_checks(before, after, np.arange(count) % classes, belief) if not check.passed]


def test_a_loss_within_chance_passes_and_one_beyond_it_fails() -> None:
    assert failed(5, 0) == []  # 0.9 of 30 and two standard errors of 2.2
    assert failed(6, 0) == ["Clean accuracy is kept"]
    assert failed(9, 9) == []  # what counts is the difference
    assert failed(15, 0, count=300, classes=300) == []
    assert failed(20, 0, count=300, classes=300) == ["Clean accuracy is kept"]


def test_no_class_pays_for_the_others() -> None:
    assert failed(3, 2, classes=1) == []
    assert failed(1, 0, count=4, classes=4) == []  # one image may go by chance
    before, labels = np.ones(60, dtype=bool), np.repeat(np.arange(20), 3)
    after = before.copy()
    after[:2] = False  # two of class 0
    assert all(check.passed for check in clean_checks(before, after, labels, 0.0))

    after[:3] = False
    [check] = [c for c in clean_checks(before, after, labels, 0.0) if not c.passed]

    assert (check.name, check.measured) == ("Every class keeps its recall", "class 0: 3 more of 3 wrong than before")


@pytest.mark.parametrize("belief", [0.06, math.nan])
def test_beliefs_lost_or_unknown_fail(belief: float) -> None:
    assert failed(0, 0, belief=belief) == ["Answers stay the suspect's"]
