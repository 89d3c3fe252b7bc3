"""Charts over time: a search's costs, and the seconds per stage."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from auditor.domain import family_words
from auditor.report.figures import LEFT, RIGHT, ROW, WIDTH
from auditor.report.log import SearchCurve
from auditor.report.svg import LogScale, Svg
from auditor.report.text import ClassNames, duration, number, shorten, words


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
    step_axis(drawing, left, bottom, last)
    for target_class in sorted(curve.costs, key=lambda c: c in targets):
        points = [
            (left + s / last * (WIDTH - RIGHT - left), scale(c)) for s, c in thinned(curve.costs[target_class])
            if c is not None and c > 0
        ]  # fmt: skip
        if points:
            drawing.polyline(points, "alert-line" if target_class in targets else "plain-line")
        if points and target_class in targets:
            label = f"target {names.bare(target_class)}"
            drawing.text(WIDTH - RIGHT, points[-1][1] - 8, shorten(label, 28), "strong", "end")
    return drawing.finish(f"Cost of the cheapest {family_words(curve.family)} trigger per class over {last} search steps.")


def thinned(points: Sequence[tuple[int, float | None]], most: int = 200) -> list[tuple[int, float | None]]:
    """At most about `most` of the points, the last one among them."""
    stride = -(-len(points) // most)
    return [*points[:-1:stride], *points[-1:]] if stride else []


def step_axis(drawing: Svg, left: float, bottom: float, last: int, first: int = 0) -> None:
    """A horizontal axis from one step to another, named at both ends and in the middle."""
    drawing.line(left, bottom, WIDTH - RIGHT, bottom, "axis")
    for share in (0.0, 0.5, 1.0):
        x = left + share * (WIDTH - RIGHT - left)
        anchor = "end" if share == 1 else "middle" if share else "start"
        step = round(first + share * (last - first))
        drawing.text(x, bottom + 15, f"step {step}" if share == 1 else f"{step}", "note", anchor)


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
