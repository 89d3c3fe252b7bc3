"""Evidence from the network alone, with no clean image: its weight rows and its largest margins.

It ranks suspicion and decides nothing. Images synthesized from the network (matching its
batch-norm statistics) were tried as stand-ins for clean ones and did not tell backdoored networks
from honest ones (benchmarks/RESULTS.md, "detect"). The normalisation cannot be inferred without
images: the suspect's given one is used.

Legend: K classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auditor.datafree.margins import Margins, maximum_margins
from auditor.datafree.rows import Rows, last_layer_rows
from auditor.suspect import Suspect

Floats = NDArray[np.float64]

MOST_Z = 6.0  # beyond it a z says how alike the others are, not how odd this class is
# The largest score of an honest calibration model; a rank of one half is put there.
HONEST_REACH = 2.2
# Margins are searched up to so many pixels over all classes: 64 classes at 32x32. Beyond, rows alone.
MOST_PIXELS = 64 * 32 * 32


@dataclass(frozen=True, kw_only=True, eq=False)
class DataFreeEvidence:
    """What the network alone tells."""

    rows: Rows
    margins: Margins | None


def data_free_evidence(suspect: Suspect, *, seed: int) -> DataFreeEvidence:
    """Read the last layer and, in a small network, search the largest margins: 480 images each way a class.

    Raises InconclusiveError when the network has no classifying layer.
    """
    _, height, width = suspect.input_shape
    small = suspect.num_classes * height * width <= MOST_PIXELS
    return DataFreeEvidence(rows=last_layer_rows(suspect), margins=maximum_margins(suspect, seed=seed) if small else None)


def class_consensus(evidence: DataFreeEvidence) -> Floats:
    """How suspicious each class (K,) is: the mean of its row-mean z and its margin z, each within +-6.

    Honest networks have outliers too, but of different classes in different statistics; a
    backdoor lifts its one target in both. NaN below four classes.
    """
    known = [evidence.rows.mean_z] + ([evidence.margins.z] if evidence.margins else [])
    z_EK = np.stack(known)
    return np.asarray(np.clip(z_EK, -MOST_Z, MOST_Z).mean(0), dtype=np.float64)


def data_free_score(evidence: DataFreeEvidence) -> float | None:
    """A rank in (0, 1): the largest `class_consensus`, one half where honest models reach. None below four classes
    and for weights that are not finite.

    Measured on 20 CIFAR-10 calibration models, from which it was also chosen: AUC 0.854 (12
    backdoored, 8 honest; row means alone 0.854 too), the target first on 9 of 12 (rows: 7).
    """
    largest = float(class_consensus(evidence).max())
    return None if not math.isfinite(largest) else 1 / (1 + math.exp(HONEST_REACH - largest))
