"""What the stages share."""

from __future__ import annotations

import torch

from auditor.pipeline.session import evenly


def test_a_part_of_many_images_is_as_even_over_the_classes_as_they_are() -> None:
    labels = torch.arange(300) % 10
    indices = torch.arange(50, 300)
    chosen = evenly(indices, labels, 64)
    assert len(set(chosen.tolist())) == 64 and set(chosen.tolist()) <= set(indices.tolist())
    assert set(torch.bincount(labels[chosen]).tolist()) <= {6, 7}


def test_few_images_stay_as_they_are() -> None:
    indices = torch.tensor([5, 3, 1])
    assert evenly(indices, torch.zeros(6, dtype=torch.int64), 3) is indices
