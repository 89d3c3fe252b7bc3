"""Charts over time: a search's costs, an attempt's rates, the seconds per stage."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from auditor.domain import family_words
from auditor.report.figures import LEFT, RIGHT, ROW, WIDTH
from auditor.report.reading import SearchCurve, UnlearnCurve
from auditor.report.svg import LogScale, Svg
from auditor.report.text import ClassNames, duration, number, percent, shorten, words


def search_costs(curve: SearchCurve, targets: Sequence[int], names: ClassNames) -> Markup | None:
    """Cheapest cost per class over the steps of a search; None when nothing was found."""
    values = [c for points in curve.costs.values() for _, c in points if c is not None and c > 0]
    last = max((s for points in curve.costs.values() for s, _ in points), default=0)
    if not values or last <= 0:
        return None
    height, top, left = 180.0, 24.0, 44.0
    bottom = height - 18
    drawing = Svg(WIDTH, height)
    drawing.text(0, 13, f"{shorten(family_words(curve.family), 30)} search", "heading")
    scale = LogScale(values, bottom, top)
    for tick in scale.ticks():
        drawing.line(left, scale(tick), WIDTH - RIGHT, scale(tick), "grid")
        drawing.text(left - 6, scale(tick) + 4, number(tick), "note", "end")
    _step_axis(drawing, left, bottom, last)
    for target_class in sorted(curve.costs, key=lambda c: c in targets):
        points = [
            (left + s / last * (WIDTH - RIGHT - left), scale(c)) for s, c in _thinned(curve.costs[target_class])
            if c is not None and c > 0
        ]  # fmt: skip
        if points:
            drawing.polyline(points, "alert-line" if target_class in targets else "plain-line")
        if points and target_class in targets:
            label = f"target {names.bare(target_class)}"
            drawing.text(WIDTH - RIGHT, points[-1][1] - 8, shorten(label, 28), "strong", "end")
    return drawing.finish(f"Cost of the cheapest {family_words(curve.family)} trigger per class over {last} search steps.")


def _thinned(points: list[tuple[int, float | None]], most: int = 200) -> list[tuple[int, float | None]]:
    stride = -(-len(points) // most)
    return points[:-1:stride] + points[-1:] if stride else points


def _step_axis(drawing: Svg, left: float, bottom: float, last: int) -> None:
    drawing.line(left, bottom, WIDTH - RIGHT, bottom, "axis")
    for share in (0.0, 0.5, 1.0):
        x = left + share * (WIDTH - RIGHT - left)
        anchor = "end" if share == 1 else "middle" if share else "start"
        label = f"step {round(share * last)}" if share == 1 else f"{round(share * last)}"
        drawing.text(x, bottom + 15, label, "note", anchor)


def unlearn_curve(curve: UnlearnCurve, title: str) -> Markup | None:
    """Clean accuracy (solid) and proxy attack success rate (dashed) over one attempt; None below two steps."""
    first, last = curve.steps[0][0], curve.steps[-1][0]
    if last <= first:
        return None
    height, top, left = 180.0, 24.0, 44.0
    bottom = height - 18
    drawing = Svg(WIDTH, height)
    drawing.text(0, 13, shorten(title, 50), "heading")
    for tick in (0.0, 0.5, 1.0):
        y = bottom - tick * (bottom - top)
        drawing.line(left, y, WIDTH - RIGHT, y, "grid")
        drawing.text(left - 6, y + 4, f"{100 * tick:.0f} %", "note", "end")
    _step_axis(drawing, left, bottom, last)
    stride = -(-len(curve.steps) // 200)
    steps = curve.steps[:-1:stride] + curve.steps[-1:]
    lines = (
        ("good-line", "clean accuracy", [(s[0], s[1]) for s in steps]),
        ("dashed-line", "trigger works", [(s[0], s[2]) for s in steps]),
    )
    for style, label, values in lines:
        points = [
            (left + (step - first) / (last - first) * (WIDTH - RIGHT - left), bottom - _unit(share) * (bottom - top))
            for step, share in values
        ]
        drawing.polyline(points, style)
        y = points[-1][1]
        drawing.text(WIDTH - RIGHT, y - 6 if y > top + 16 else y + 15, label, "strong", "end")
    end = curve.steps[-1]
    return drawing.finish(
        f"{title}: clean accuracy {percent(end[1])} and proxy attack success rate {percent(end[2])} at step {last}."
    )


def _unit(value: float) -> float:
    return min(1.0, max(0.0, value)) if math.isfinite(value) else 0.0


def stage_seconds(seconds: dict[str, float]) -> Markup | None:
    """Wall-clock seconds per stage as bars; None when none was timed."""
    stages = [(shorten(words(stage), 16), max(0.0, spent)) for stage, spent in list(seconds.items())[:24]]
    longest = max((spent for _, spent in stages), default=0.0)
    if longest <= 0:
        return None
    drawing = Svg(WIDTH, 4 + ROW * len(stages))
    for row, (stage, spent) in enumerate(stages):
        y = 2 + ROW * row
        width = spent / longest * (WIDTH - LEFT - RIGHT - 60)
        drawing.text(LEFT - 8, y + 13, stage, "label", "end")
        drawing.rect(LEFT, y + 4, max(1.0, width), ROW - 7, "accent")
        drawing.text(LEFT + max(1.0, width) + 6, y + 13, duration(spent), "note")
    return drawing.finish("Seconds per stage: " + "; ".join(f"{s} {duration(t)}" for s, t in stages) + ".")
