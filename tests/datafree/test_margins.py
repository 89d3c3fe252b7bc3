"""Maximum margins: a linear network's are known exactly; the planted target's is the largest."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from planted import TARGET, planted
from torch import nn

from auditor.datafree.margins import gamma_null_p, logit_margin, margin_z, maximum_margins
from auditor.suspect import Suspect


def test_a_margin_is_the_own_logit_less_the_best_of_the_others() -> None:
    logits = torch.tensor([[1.0, 4.0, -2.0], [1.0, 4.0, -2.0]])
    assert logit_margin(logits, torch.tensor([1, 2])).tolist() == [3.0, -6.0]


def test_the_margins_of_a_linear_network_over_the_unit_box_are_exact() -> None:
    layer = nn.Linear(4, 4, bias=False)
    layer.weight.data = torch.diag(torch.tensor([1.0, 2.0, 3.0, 12.0]))
    suspect = Suspect(nn.Sequential(nn.Flatten(), layer), num_classes=4, input_shape=(1, 2, 2))
    found = maximum_margins(suspect, seed=0, starts=4, steps=60)
    # Own pixel at 1, the others at 0: the margin is the own weight (bfloat16 keeps these exactly).
    np.testing.assert_allclose(found.margin, [1, 2, 3, 12])
    # log 12 against log {1, 2, 3}: median log 2, absolute deviations {log 2, 0, log 1.5}.
    assert found.z[3] == pytest.approx(math.log(6) / (1.4826 * math.log(1.5)))


def test_a_class_that_nothing_lifts_above_the_others_is_no_outlier() -> None:
    scores = margin_z(np.array([4.0, 5.0, 6.0, -1.0]))
    assert scores[3] <= 0
    assert np.isfinite(scores).all()


def test_the_planted_target_has_the_largest_margin_and_its_twin_has_no_outlier() -> None:
    backdoored = maximum_margins(planted(40.0), seed=0, starts=2, steps=40)
    honest = maximum_margins(planted(0.0), seed=0, starts=2, steps=40)
    assert int(backdoored.margin.argmax()) == TARGET
    assert backdoored.z[TARGET] > 3 > honest.z[TARGET]
    assert backdoored.p_value < honest.p_value


def test_the_same_seed_gives_the_same_margins_and_the_cost_is_metered() -> None:
    suspect = planted()
    first = maximum_margins(suspect, seed=3, starts=2, steps=5)
    assert suspect.meter.backward_images == suspect.meter.forward_images == 6 * 2 * 5
    again = maximum_margins(planted(), seed=3, starts=2, steps=5)
    other = maximum_margins(planted(), seed=4, starts=2, steps=5)
    np.testing.assert_array_equal(first.margin, again.margin)
    assert (first.margin != other.margin).any()


def test_the_gamma_null_is_exponential_where_its_fitted_shape_is_one() -> None:
    """(3 - s + sqrt((s - 3)^2 + 24 s)) / (12 s) = 1 at s = 4/7; then the tail is exp(-x / mean)."""
    low, high = 1e-6, 1.0
    for _ in range(200):  # the others: (a, a, 3 - 2 a), of mean 1 and mean log -4/7
        middle = (low + high) / 2
        gap = -(2 * math.log(middle) + math.log(3 - 2 * middle)) / 3
        low, high = (middle, high) if gap > 4 / 7 else (low, middle)
    expected = 1 - (1 - math.exp(-6.0)) ** 3
    assert gamma_null_p(np.array([low, low, 3 - 2 * low, 6.0])) == pytest.approx(expected, rel=1e-6)


def test_an_ordinary_maximum_has_a_large_p_and_few_classes_none() -> None:
    assert gamma_null_p(np.array([9.0, 10.0, 11.0, 11.2, 10.5, 9.5])) > 0.2
    assert gamma_null_p(np.array([9.0, 10.0, 11.0, 40.0, 10.5, 9.5])) < 1e-6
    assert math.isnan(gamma_null_p(np.array([1.0, 2.0, 3.0])))
