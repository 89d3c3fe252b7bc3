"""Sanitized forms of the planted network: one whose backdoor sleeps just below the surface, one without it."""

from __future__ import annotations

import planted

from auditor.hardness import Subject
from auditor.suspect import Suspect

ASLEEP = 0.5  # the trigger flips the planted network from about 0.9 on


def subject(model: Suspect, *, source_classes: list[int] | None = None, seed: int = 0) -> Subject:
    """The probes' view of `model`, freed of the corner trigger."""
    work, work_labels = planted.planted_images(36, seed=1)
    held, held_labels = planted.planted_images(24, seed=2)
    return Subject(
        model=model, trigger=planted.corner_trigger(source_classes), work=work, work_labels=work_labels, held=held,
        held_labels=held_labels, targets=frozenset({planted.TARGET}), seed=seed,
    )  # fmt: skip
