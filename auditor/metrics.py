"""Accuracy, attack success rate, recovered accuracy and DER, with Wilson intervals.

Legend: N images. Functions take numpy integer arrays of predictions and labels.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from auditor.domain import Rate

Labels = NDArray[np.int64]


def wilson(hits: int, total: int, z: float = 1.959963984540054) -> Rate:
    """The observed proportion with its Wilson score interval (95 % by default).

    Returns the uninformative interval [0, 1] when `total` is 0.
    Source: E. B. Wilson, JASA 22 (1927).
    """
    if total == 0:
        return Rate(hits=0, total=0, rate=None, low=0.0, high=1.0)
    p, zz = hits / total, z * z
    centre = (p + zz / (2 * total)) / (1 + zz / total)
    half = z * math.sqrt(p * (1 - p) / total + zz / (4 * total * total)) / (1 + zz / total)
    return Rate(hits=hits, total=total, rate=p, low=max(0.0, centre - half), high=min(1.0, centre + half))


def accuracy(predicted_N: Labels, true_N: Labels) -> Rate:
    """Share of images predicted as their label (ACC)."""
    return wilson(int((predicted_N == true_N).sum()), len(true_N))


def attack_success_rate(predicted_N: Labels, true_N: Labels, target_class: int) -> Rate:
    """Share of triggered images, not of the target class, predicted as the target (ASR)."""
    eligible = true_N != target_class
    return wilson(int((predicted_N[eligible] == target_class).sum()), int(eligible.sum()))


def recovered_accuracy(predicted_N: Labels, true_N: Labels, target_class: int) -> Rate:
    """Share of triggered images, not of the target class, predicted as their true label (RA)."""
    eligible = true_N != target_class
    return wilson(int((predicted_N == true_N)[eligible].sum()), int(eligible.sum()))


def defense_effectiveness(accuracy_before: float, accuracy_after: float, asr_before: float, asr_after: float) -> float:
    """Defense Effectiveness Rating, in [0, 1]: [max(0, dASR) - max(0, dACC) + 1] / 2.

    Source: Zhu et al., FT-SAM, ICCV 2023.
    """
    return (max(0.0, asr_before - asr_after) - max(0.0, accuracy_before - accuracy_after) + 1) / 2
