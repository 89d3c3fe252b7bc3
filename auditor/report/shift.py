"""How attention moved while a model was sanitized: fixed images down, steps across, as small multiples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auditor.report import pictures
from auditor.report.evidence import EvidenceError, WatchedImages, inside, read_frame, read_watched
from auditor.report.gallery import Card, Picture
from auditor.report.log import UnlearnCurve, UnlearnPoint
from auditor.report.text import percent

WATCHED_FILE = "evidence/watched.npz"
MOST_IMAGES = 4
MOST_STEPS = 5


@dataclass(frozen=True, kw_only=True)
class ShiftPanel:
    """A card an image, each with its picture and the heat-maps of a few steps of `curve`."""

    cards: list[Card]
    scale: str
    curve: UnlearnCurve


def shift_panel(curves: Sequence[UnlearnCurve], run_folder: Path) -> ShiftPanel | None:
    """The latest run of the attempt that was kept, else the latest, whose heat-maps are there; None without any."""
    try:
        watched = read_watched(inside(run_folder, WATCHED_FILE))
    except EvidenceError:
        return None
    for curve in sorted(curves, key=lambda c: (c.accepted is True, c.attempt, c.run), reverse=True):
        shown = _frames(curve, watched, run_folder)
        if len(shown) >= 2:
            cards = [_card(watched, shown, i) for i in range(min(MOST_IMAGES, len(watched.images)))]
            return ShiftPanel(cards=cards, scale=pictures.heat_scale(), curve=curve)
    return None


def _frames(
    curve: UnlearnCurve, watched: WatchedImages, run_folder: Path
) -> list[tuple[UnlearnPoint, NDArray[np.float32]]]:
    """A few steps, evenly over the run from first to last, with their heat-maps."""
    stored = [point for point in curve.points if point.heat_maps]
    picks = sorted({round(i) for i in np.linspace(0, len(stored) - 1, MOST_STEPS).tolist()}) if stored else []
    found = []
    for point in (stored[i] for i in picks):
        try:
            found.append((point, read_frame(inside(run_folder, point.heat_maps or ""), watched)))
        except EvidenceError:
            continue
    return found


def _card(watched: WatchedImages, frames: Sequence[tuple[UnlearnPoint, NDArray[np.float32]]], i: int) -> Card:
    image = watched.images[i]
    shown = [Picture(uri=pictures.photo(image), alt="Image with the trigger", caption="with trigger")]
    for point, heat in frames:
        when = "suspect" if point.step == 0 else f"step {point.step}"
        tar = "" if point.tar is None else f"; TAR {percent(point.tar)}"
        shown.append(
            Picture(
                uri=pictures.heat(image, heat[i], watched.support),
                alt=f"Grad-CAM of the model in work, {when}{tar}; the trigger is outlined", caption=when,
            )
        )  # fmt: skip
    return Card(pictures=shown)
