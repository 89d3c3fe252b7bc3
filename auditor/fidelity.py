"""Whether a sanitized model answers clean images as the suspect did: over all, in every class, and by belief.

A few held-out images cannot tell a small loss of accuracy by their labels: of 15 each is worth 7 points. The
suspect's own probabilities on many shifted copies of them can, and need no label. Ours; what it is worth is measured
in benchmarks/RESULTS.md, "remove".

Legend: N images, C channels, H height, W width, K classes, S shifts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from auditor.adversarial import fast_math
from auditor.domain import Check
from auditor.suspect import Suspect

Answers = NDArray[np.bool_]
Labels = NDArray[np.int64]

REACH = 2  # pixels
ALLOWED_LOSS = 0.03  # and two standard errors
ALLOWED_CLASS_LOSS = 0.2
ALLOWED_BELIEF = 0.05


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


def clean_checks(before: Answers, after: Answers, labels: Labels, belief: float) -> list[Check]:
    """What verification asks of clean images: `before` and `after` (N,) say which were answered with their label."""
    return [_accuracy_check(before, after), _class_check(before, after, labels), _belief_check(belief)]


def _accuracy_check(before: Answers, after: Answers) -> Check:
    """The loss may exceed what is allowed by two standard errors, or few images would refuse what lost little."""
    wrong, right = int((before & ~after).sum()), int((after & ~before).sum())
    allowed = max(1, int(ALLOWED_LOSS * len(before) + 2 * math.sqrt(wrong + right)))
    return Check(
        name="Clean accuracy is kept", passed=wrong - right <= allowed,
        measured=f"{wrong} of {len(before)} held-out images newly wrong, {right} newly right",
        allowed=f"{allowed} more: {ALLOWED_LOSS:.0%} and two standard errors",
    )  # fmt: skip


def _class_check(before: Answers, after: Answers, labels: Labels) -> Check:
    """No class may pay for the others, but for what chance explains."""
    found = changes_by_class(before, after, labels)
    lost = {k: (wrong - right, count) for k, (wrong, right, count) in found.items()
            if wrong - right > max(1, int(ALLOWED_CLASS_LOSS * count + math.sqrt(wrong + right)))}  # fmt: skip
    worst = max(lost, key=lambda k: lost[k][0] / lost[k][1], default=None)
    return Check(
        name="Every class keeps its recall", passed=worst is None, allowed=f"{ALLOWED_CLASS_LOSS:.0%} of a class and one standard error",
        measured="no class lost more" if worst is None else f"class {worst}: {lost[worst][0]} more of {lost[worst][1]} wrong than before",
    )  # fmt: skip


def changes_by_class(before: Answers, after: Answers, labels: Labels) -> dict[int, tuple[int, int, int]]:
    """Of every class how many images are newly wrong, how many newly right, and how many there are; all arguments (N,)."""
    wrong, right = before & ~after, after & ~before
    return {int(k): (int(wrong[labels == k].sum()), int(right[labels == k].sum()), int((labels == k).sum())) for k in np.unique(labels)}


def _belief_check(lost: float) -> Check:
    """Finer than the labels of a few images."""
    return Check(
        name="Answers stay the suspect's", passed=lost <= ALLOWED_BELIEF,  # NaN, of no image, does not
        measured=f"{lost:.1%} of accuracy lost by the suspect's own probabilities, on shifted held-out images",
        allowed=f"at most {ALLOWED_BELIEF:.0%}",
    )  # fmt: skip
