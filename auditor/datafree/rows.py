"""Last-layer rows: does one class's row of the classifier differ from the other classes' rows?

A backdoor that many poisoned images trained often leaves the target a row of larger mean: its
features add to the target's logit and to no other. Reads weights only: no image passes. Weak
alone, and free.

Legend: K classes, D features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from auditor.errors import InconclusiveError
from auditor.suspect import Suspect
from auditor.verdict.statistics import MIN_CLASSES

Floats = NDArray[np.float64]
SMALLEST = 1e-9  # spread of classes that are all alike
# A row's mean of D weights is itself uncertain by their deviation / sqrt(D); a spread of means
# much below that is chance. Half of it, measured on the calibration models.
MEAN_FLOOR = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Each class's row, and how far it stands out, all (K,): `norm`, `mean` weight and mean
    `cosine` to the other rows, and the robust z of each; positive: higher than the others."""

    norm: Floats
    mean: Floats
    cosine: Floats
    norm_z: Floats
    mean_z: Floats
    cosine_z: Floats


def last_layer_rows(suspect: Suspect) -> Rows:
    """Statistics of the rows of the suspect's last linear layer.

    Raises InconclusiveError when no linear or convolutional layer has one row a class.
    Source: Fields et al., Trojan Signatures in DNN Weights, ICCV Workshops 2021 (the row means);
    ours: leaving one class out, and the floor under the means' spread.
    """
    weight_KD = classifier_weight(suspect)
    unit_KD = F.normalize(weight_KD, dim=1)
    cosine_KK = unit_KD @ unit_KD.T
    cosine_K = (cosine_KK.sum(1) - cosine_KK.diagonal()) / max(1, len(weight_KD) - 1)
    norm, mean, cosine = (x.numpy() for x in (weight_KD.norm(dim=1), weight_KD.mean(1), cosine_K))
    uncertainty = float(weight_KD.std(1, unbiased=False).mean()) / weight_KD.shape[1] ** 0.5
    return Rows(
        norm=norm, mean=mean, cosine=cosine, norm_z=robust_z(norm),
        mean_z=robust_z(mean, max(MEAN_FLOOR * uncertainty, SMALLEST)), cosine_z=robust_z(cosine),
    )  # fmt: skip


def classifier_weight(suspect: Suspect) -> Tensor:
    """The last layer's weight (K, D), float64 on the CPU; a convolution that classifies counts."""
    found = [
        layer.weight.detach().double().cpu().flatten(1)
        for _, layer in suspect.named_layers()
        if isinstance(layer, nn.Linear | nn.Conv2d) and len(layer.weight) == suspect.num_classes
    ]
    if not found:
        raise InconclusiveError(
            f"No layer of the network has {suspect.num_classes} rows, one a class.",
            "Check --num-classes; give clean images with --clean PATH for a search.",
        )
    return found[-1]


def robust_z(value_K: Floats, floor: float = SMALLEST) -> Floats:
    """How far each value (K,) lies above the others: (own - median) / max(1.4826 MAD, `floor`).

    Median and MAD are of the other classes only, so that an outlier does not widen the scale it
    is judged by. All NaN below four classes.
    """
    scores = np.full(len(value_K), np.nan)
    if len(value_K) < MIN_CLASSES:
        return scores
    for own in range(len(value_K)):
        others = np.delete(value_K, own)
        median = np.median(others)
        spread = 1.4826 * float(np.median(np.abs(others - median)))
        scores[own] = (value_K[own] - median) / max(spread, floor)
    return scores
