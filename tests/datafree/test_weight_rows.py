"""Weight rows against numbers worked out by hand, and the planted network's target row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted import TARGET, planted
from torch import nn

from auditor.datafree.rows import classifier_weight, last_layer_rows, robust_z
from auditor.errors import InconclusiveError
from auditor.suspect import Suspect


def _suspect(layers: list[nn.Module], classes: int) -> Suspect:
    return Suspect(nn.Sequential(*layers), num_classes=classes, input_shape=(1, 1, 2))


def test_rows_have_the_norms_means_and_cosines_worked_out_by_hand() -> None:
    layer = nn.Linear(2, 4)
    layer.weight.data = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
    rows = last_layer_rows(_suspect([nn.Flatten(), layer], 4))
    np.testing.assert_allclose(rows.norm, [5, 1, 2, 1])
    np.testing.assert_allclose(rows.mean, [3.5, 0.5, 1, -0.5])
    np.testing.assert_allclose(rows.cosine, [0.8 / 3, -0.4 / 3, 0.8 / 3, -1.6 / 3], atol=1e-12)
    # Row 2 against {5, 1, 1}: median 1, absolute deviations {4, 0, 0}, so the floor decides.
    assert rows.norm_z[2] == pytest.approx(1e9)
    # Row 0 against {0.5, 1, -0.5}: median 0.5, deviations {0, 0.5, 1}, MAD 0.5.
    assert rows.mean_z[0] == pytest.approx(3.0 / (1.4826 * 0.5))


def test_a_z_leaves_its_own_class_out() -> None:
    scores = robust_z(np.array([1.0, 2.0, 3.0, 100.0]))
    assert scores[3] == pytest.approx(98 / 1.4826)
    assert scores[0] == pytest.approx((1 - 3) / 1.4826)


def test_a_spread_of_row_means_below_their_own_uncertainty_is_not_believed() -> None:
    layer = nn.Linear(4, 4)
    layer.weight.data = torch.tensor([[1.0, -1.0, 1.0, -1.0]]).repeat(4, 1)
    layer.weight.data[2] += 0.75
    rows = last_layer_rows(_suspect([nn.Flatten(), layer], 4))
    # The others' means are all zero; each row deviates by 1 over 4 weights: the floor is 0.5 * 1 / 2.
    assert rows.mean_z[2] == pytest.approx(0.75 / 0.25)


def test_three_classes_are_too_few_for_a_z() -> None:
    assert np.isnan(robust_z(np.array([1.0, 2.0, 30.0]))).all()


def test_the_planted_targets_row_is_the_longest_and_the_twins_is_not() -> None:
    # Its trigger weight grows with the backdoor; 40 dwarfs what the blocks' own sizes differ by.
    assert int(last_layer_rows(planted(40.0)).norm_z.argmax()) == TARGET
    assert last_layer_rows(planted(0.0)).norm_z[TARGET] < last_layer_rows(planted(40.0)).norm_z[TARGET]


def test_the_last_layer_with_a_row_a_class_is_the_classifier() -> None:
    hidden, last = nn.Linear(2, 5), nn.Linear(5, 5)
    suspect = _suspect([nn.Flatten(), hidden, nn.ReLU(), last], 5)
    assert torch.equal(classifier_weight(suspect), last.weight.double())


def test_a_convolution_may_be_the_classifier() -> None:
    last = nn.Conv2d(1, 4, 1)
    suspect = _suspect([last, nn.AdaptiveAvgPool2d(1), nn.Flatten()], 4)
    assert classifier_weight(suspect).shape == (4, 1)


def test_a_network_without_class_rows_is_inconclusive() -> None:
    with pytest.raises(InconclusiveError, match="7 rows"):
        last_layer_rows(_suspect([nn.Flatten(), nn.Linear(2, 4)], 7))
