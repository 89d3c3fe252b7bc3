"""Golden numbers of the metrics, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from auditor.metrics import accuracy, attack_success_rate, defense_effectiveness, recovered_accuracy, wilson


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [
        (8, 10, 0.490, 0.943),
        (0, 10, 0.0, 0.278),  # high = z^2 / (n + z^2) = 3.8415 / 13.8415
        (10, 10, 0.722, 1.0),
        (1, 1, 0.207, 1.0),  # low = 1 / (1 + z^2)
        (50, 100, 0.404, 0.596),
    ],
)
def test_wilson_interval(hits: int, total: int, low: float, high: float) -> None:
    rate = wilson(hits, total)
    assert (rate.hits, rate.total, rate.rate) == (hits, total, hits / total)
    assert rate.low == pytest.approx(low, abs=5e-4)
    assert rate.high == pytest.approx(high, abs=5e-4)


def test_wilson_interval_of_nothing_is_uninformative() -> None:
    rate = wilson(0, 0)
    assert (rate.rate, rate.low, rate.high) == (None, 0.0, 1.0)


def test_wilson_intervals_of_complements_mirror_each_other() -> None:
    few, many = wilson(3, 17), wilson(14, 17)
    assert few.low == pytest.approx(1 - many.high)
    assert few.high == pytest.approx(1 - many.low)


TRUE = np.array([0, 0, 1, 2, 2])
PREDICTED = np.array([0, 2, 2, 2, 1])


def test_accuracy_counts_every_image() -> None:
    rate = accuracy(PREDICTED, TRUE)
    assert (rate.hits, rate.total) == (2, 5)


def test_attack_success_rate_leaves_the_target_class_out() -> None:
    # Given target 2: images 0, 1 and 2 are eligible, and two of them are predicted as it.
    rate = attack_success_rate(PREDICTED, TRUE, 2)
    assert (rate.hits, rate.total) == (2, 3)


def test_recovered_accuracy_counts_true_labels_outside_the_target_class() -> None:
    rate = recovered_accuracy(PREDICTED, TRUE, 2)
    assert (rate.hits, rate.total) == (1, 3)


def test_rates_are_undefined_when_all_images_are_of_the_target_class() -> None:
    same = np.array([4, 4])
    assert attack_success_rate(same, same, 4).rate is None
    assert recovered_accuracy(same, same, 4).rate is None


@pytest.mark.parametrize(
    ("before_after", "rating"),
    [
        ((0.92, 0.90, 1.00, 0.02), 0.98),  # (0.98 - 0.02 + 1) / 2
        ((0.90, 0.95, 0.80, 0.10), 0.85),  # accuracy gained counts as none lost
        ((0.90, 0.90, 0.10, 0.60), 0.50),  # a stronger attack counts as none removed
        ((1.00, 0.00, 0.50, 0.50), 0.00),
        ((0.90, 0.90, 1.00, 0.00), 1.00),
    ],
)
def test_defense_effectiveness(before_after: tuple[float, float, float, float], rating: float) -> None:
    assert defense_effectiveness(*before_after) == pytest.approx(rating)
