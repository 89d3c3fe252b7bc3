"""The arrays that a result names, read for the screens; what is missing or malformed is left out.

Legend: N images, H height, W width; pictures are float32 (H, W, 3) in [0, 1].
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auditor.domain import AuditResult, TriggerFinding
from auditor.report.evidence import (
    EvidenceError,
    HeatMaps,
    StampedImages,
    inside,
    read_heat_maps,
    read_stamped,
    read_trigger,
)
from auditor.report.triggers import strongest
from auditor.tui.pictures import Pixels, checkered, overlaid, tinted

MOST_SAMPLES = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One image with the trigger: how it looks, where the models look, and what they answer.

    `true` is -1 where it was not recorded. `before` and `after` are of the suspect and of the
    sanitized model.
    """

    stamped: Pixels
    true: int
    said: int
    said_after: int | None = None
    before: Pixels | None = None
    after: Pixels | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """Pictures of the strongest trigger and of samples with it; None and empty where there are none."""

    trigger: Pixels | None = None
    mask: Pixels | None = None
    samples: list[Sample] = field(default_factory=list)


def load_evidence(folder: Path, result: AuditResult | None) -> Evidence:
    """The evidence of a result in a run folder that may come from anyone."""
    finding = strongest(result) if result is not None else None
    if result is None or finding is None:
        return Evidence()
    trigger, mask = _trigger(folder, finding)
    maps = _heat_maps(folder, result)
    stamped = _stamped(folder, finding)
    samples = _from_maps(maps) if maps is not None else _from_stamped(stamped) if stamped is not None else []
    return Evidence(trigger=trigger, mask=mask, samples=samples)


def _trigger(folder: Path, finding: TriggerFinding) -> tuple[Pixels | None, Pixels | None]:
    """The trigger over a checkerboard, or its perturbation around grey; and its mask."""
    try:
        found = read_trigger(inside(folder, finding.evidence))
    except EvidenceError:
        return None, None
    if found.mask is not None and found.pattern is not None:
        return checkered(found.mask, found.pattern), np.repeat(np.clip(found.mask, 0, 1)[..., None], 3, axis=2)
    return (tinted(found.delta), None) if found.delta is not None else (None, None)


def _stamped(folder: Path, finding: TriggerFinding) -> StampedImages | None:
    named = re.fullmatch(r"(.*)trigger_(\d{1,6})\.npz", finding.evidence)
    try:
        return read_stamped(inside(folder, f"{named[1]}stamped_{named[2]}.npz")) if named else None
    except EvidenceError:
        return None


def _heat_maps(folder: Path, result: AuditResult) -> HeatMaps | None:
    if result.attention is None or result.attention.panels is None:
        return None
    try:
        return read_heat_maps(inside(folder, result.attention.panels))
    except EvidenceError:
        return None


def _from_stamped(stamped: StampedImages) -> list[Sample]:
    after = stamped.predicted_sanitized
    return [
        Sample(stamped=_pixels(stamped.triggered[i]), true=int(stamped.true[i]), said=int(stamped.predicted_triggered[i]),
               said_after=None if after is None else int(after[i]))
        for i in range(min(MOST_SAMPLES, len(stamped.triggered)))
    ]  # fmt: skip


def _from_maps(maps: HeatMaps) -> list[Sample]:
    found = []
    for i in range(min(MOST_SAMPLES, len(maps.images))):
        picture = _pixels(maps.images[i])
        found.append(Sample(
            stamped=picture, true=_label(maps.true, i, -1), said=_label(maps.predicted_before, i, -1),
            said_after=None if maps.predicted_after is None else int(maps.predicted_after[i]),
            before=overlaid(picture, maps.before[i]),
            after=None if maps.after is None else overlaid(picture, maps.after[i]),
        ))  # fmt: skip
    return found


def _label(labels: NDArray[np.int64] | None, index: int, otherwise: int) -> int:
    return otherwise if labels is None else int(labels[index])


def _pixels(image: NDArray[np.uint8]) -> Pixels:
    pixels = image.astype(np.float32) / np.float32(255)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
