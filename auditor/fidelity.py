"""What a sanitized model changed on clean images: how often it answers otherwise than the suspect, and in which classes.

A few held-out images cannot tell a small loss of accuracy by their labels: of 15 each is worth 7 points. The
suspect's own probabilities on many shifted copies of them can, and need no label. Ours; what it is worth is measured
in benchmarks/RESULTS.md, "remove".

Legend: N images, C channels, H height, W width, K classes, S shifts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from auditor.adversarial import fast_math
from auditor.suspect import Suspect

REACH = 2  # pixels


def belief_lost(suspect: Suspect, model: Suspect, images: Tensor) -> Tensor:
    """The accuracy in [0, 1] that the suspect would say is lost on each image and shift, (S * N,): the probability it
    gives its own answer, less what it gives the model's, over shifted copies of `images` (N, C, H, W)."""
    lost = []
    for copies in shifts(images):
        with fast_math(suspect):
            wanted = suspect.logits(copies).float().softmax(1)
            answers = model.logits(copies).float().argmax(1, keepdim=True)
        lost.append(wanted.max(1).values - wanted.gather(1, answers)[:, 0])
    return torch.cat(lost).cpu()


def shifts(images: Tensor, reach: int = REACH) -> Iterator[Tensor]:
    """The images moved by up to `reach` pixels each way, (N, C, H, W) at a time; reflected at the border."""
    height, width = images.shape[2:]
    reach = min(reach, height - 1, width - 1)
    padded = F.pad(images, (reach,) * 4, mode="reflect")
    for down in range(2 * reach + 1):
        for right in range(2 * reach + 1):
            yield padded[:, :, down : down + height, right : right + width]


def lost_by_class(before: NDArray[np.bool_], after: NDArray[np.bool_], labels: Sequence[int] | NDArray[np.int64]) -> dict[int, tuple[int, int]]:
    """Of every class its images newly wrong less those newly right, and how many it has; all arguments (N,)."""
    classes = np.asarray(labels)
    return {int(k): (int(before[classes == k].sum() - after[classes == k].sum()), int((classes == k).sum())) for k in np.unique(classes)}
