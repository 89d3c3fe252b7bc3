"""The report's charts, each one narrow enough (340 units) for a phone and stackable on paper.

What stands out is marked by shape, weight and a word beside its colour.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from markupsafe import Markup

from auditor.domain import Change, ClassEvidence, Interval, Rate, family_words
from auditor.report.svg import LogScale, Svg
from auditor.report.text import ClassNames, number, percent, shorten

WIDTH = 340.0
LEFT, RIGHT = 104.0, 12.0
ROW = 18.0
MOST_ROWS = 14


def families(evidence: Sequence[ClassEvidence]) -> list[str]:
    """The trigger families searched, in the order the result lists them, at most twelve."""
    return list(dict.fromkeys(e.family for e in evidence))[:12]


def class_costs(
    evidence: Sequence[ClassEvidence], family: str, targets: Sequence[int], names: ClassNames,
    *, also: Sequence[ClassEvidence] = (), title: str = "",
) -> Markup:  # fmt: skip
    """Cost per class of one family on a log axis, with the median and the target marked.

    `also` widens the axis, so that two charts share one scale. Over 14 classes, the cheapest are shown.
    """
    rows = [e for e in evidence if e.family == family]
    known = sorted(e.cost for e in rows if e.cost is not None and e.cost > 0)
    shown = _shown(rows)
    more = len(rows) - len(shown)
    top = 40.0  # the title, and below it the median
    height = top + ROW * len(shown) + 21 + (14 if more else 0)
    drawing = Svg(WIDTH, height)
    axis_values = known + [e.cost for e in also if e.family == family and e.cost is not None and e.cost > 0]
    scale = LogScale(axis_values, LEFT, WIDTH - RIGHT)
    bottom = top + ROW * len(shown) + 2
    drawing.text(0, 13, title or f"{shorten(family_words(family), 30)} trigger", "heading")
    _log_axis(drawing, scale, top, bottom, "cost, log scale")
    median = statistics.median(known) if known else None
    if median is not None:
        drawing.line(scale(median), top - 4, scale(median), bottom, "median")
        drawing.text(scale(median), top - 6, f"median {number(median)}", "note", _anchor(scale(median)))
    for row, item in enumerate(shown):
        _cost_row(drawing, scale, top + ROW * (row + 0.5), item, item.target_class in targets, names)
    if more:
        drawing.text(LEFT, height - 3, f"{more} costlier classes not drawn", "note")
    return drawing.finish(_costs_in_words(rows, family, targets, median, names))


def _shown(rows: list[ClassEvidence]) -> list[ClassEvidence]:
    if len(rows) <= MOST_ROWS:
        return rows
    return sorted(rows, key=lambda e: (e.cost is None, e.cost or 0.0, e.target_class))[:MOST_ROWS]


def _cost_row(drawing: Svg, scale: LogScale, y: float, item: ClassEvidence, is_target: bool, names: ClassNames) -> None:
    label = shorten(names(item.target_class), 16)
    drawing.text(LEFT - 8, y + 4, label, "strong" if is_target else "label", "end")
    drawing.line(LEFT, y, WIDTH - RIGHT, y, "grid")
    if item.cost is None or item.cost <= 0:
        drawing.halo(LEFT + 8, y + 4, "no trigger found")
        drawing.text(LEFT + 8, y + 4, "no trigger found", "note")
        return
    x = scale(item.cost)
    if not is_target:
        drawing.circle(x, y, 4, "plain")
        return
    drawing.diamond(x, y, 6.5, "alert")
    said = f"target, {number(item.cost)}"
    beside, anchor = (x + 12, "start") if x < WIDTH - 110 else (x - 12, "end")
    drawing.halo(beside, y + 4, said, anchor)
    drawing.text(beside, y + 4, said, "strong", anchor)


def _anchor(x: float) -> str:
    return "start" if x < LEFT + 30 else "end" if x > WIDTH - 50 else "middle"


def _log_axis(drawing: Svg, scale: LogScale, top: float, bottom: float, title: str) -> None:
    drawing.line(LEFT, bottom, WIDTH - RIGHT, bottom, "axis")
    for tick in scale.ticks():
        x = scale(tick)
        drawing.line(x, bottom, x, bottom + 4, "axis")
        drawing.text(x, bottom + 15, number(tick), "note", "end" if x > WIDTH - 24 else "middle")
    drawing.text(LEFT - 8, bottom + 15, title, "note", "end")


def _costs_in_words(
    rows: list[ClassEvidence], family: str, targets: Sequence[int], median: float | None, names: ClassNames
) -> str:
    said = [f"Cost of the cheapest {family_words(family)} trigger per class, {len(rows)} classes"]
    if median is not None:
        said.append(f"median {number(median)}")
    said += [f"target {names(e.target_class)} {number(e.cost)}" for e in rows if e.target_class in targets and e.cost]
    none = sum(e.cost is None for e in rows)
    if none:
        said.append(f"none found for {none}")
    return "; ".join(said) + "."


def rate_changes(changes: Sequence[tuple[str, Change]]) -> Markup:
    """Rates before (hollow) and after (filled), with 95 % intervals, on one 0 to 100 % axis."""
    top, step = 26.0, 46.0
    height = top + step * len(changes) + 8
    drawing = Svg(WIDTH, height)
    bottom = top + step * len(changes) - 8
    drawing.circle(LEFT + 5, 9, 4.5, "hollow")
    drawing.text(LEFT + 14, 13, "before", "note")
    drawing.rect(LEFT + 62, 4.5, 9, 9, "good")
    drawing.text(LEFT + 76, 13, "after", "note")
    _percent_axis(drawing, top - 4, bottom)
    for row, (label, change) in enumerate(changes):
        y = top + step * row
        drawing.text(LEFT - 8, y + 18, label, "strong", "end")
        _rate_row(drawing, y + 9, change.before, is_after=False)
        _rate_row(drawing, y + 25, change.after, is_after=True)
    return drawing.finish(_changes_in_words(changes))


def _percent_axis(drawing: Svg, top: float, bottom: float) -> None:
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _share_x(tick)
        drawing.line(x, top, x, bottom, "grid")
        drawing.text(x, bottom + 13, f"{100 * tick:.0f} %", "note", "end" if tick == 1 else "middle")
    drawing.line(LEFT, bottom, WIDTH - RIGHT, bottom, "axis")


def _share_x(share: float) -> float:
    return LEFT + 6 + min(1.0, max(0.0, share)) * (WIDTH - RIGHT - LEFT - 12)


def _rate_row(drawing: Svg, y: float, rate: Rate | None, *, is_after: bool) -> None:
    if rate is None or rate.rate is None:
        drawing.text(LEFT + 10, y + 4, "not measured", "note")
        return
    drawing.line(_share_x(rate.low), y, _share_x(rate.high), y, "interval")
    x = _share_x(rate.rate)
    if is_after:
        drawing.rect(x - 4.5, y - 4.5, 9, 9, "good")
    else:
        drawing.circle(x, y, 4.5, "hollow")
    beside = (_share_x(rate.high) + 8, "start") if x < WIDTH - 110 else (_share_x(rate.low) - 8, "end")
    drawing.text(beside[0], y + 4, percent(rate.rate), "label", beside[1])


def _changes_in_words(changes: Sequence[tuple[str, Change]]) -> str:
    said = []
    for label, change in changes:
        before = percent(change.before.rate) if change.before else "not measured"
        after = percent(change.after.rate) if change.after else "not measured"
        said.append(f"{label} {before} before, {after} after")
    return "; ".join(said) + "."


def attention_shares(rows: Sequence[tuple[str, str, Interval]]) -> Markup:
    """TAR per condition: (label, style, interval); style is hollow, good or plain."""
    top, step = 8.0, 24.0
    bottom = top + step * len(rows)
    drawing = Svg(WIDTH, bottom + 20)
    _percent_axis(drawing, top, bottom)
    said = []
    for row, (label, style, measured) in enumerate(rows):
        y = top + step * (row + 0.5)
        drawing.text(LEFT - 8, y + 4, label, "strong" if style != "plain" else "label", "end")
        said.append(f"{label} {percent(measured.mean)}")
        if measured.mean is None:
            drawing.text(LEFT + 10, y + 4, "undefined", "note")
            continue
        if measured.low is not None and measured.high is not None:
            drawing.line(_share_x(measured.low), y, _share_x(measured.high), y, "interval")
        _tar_mark(drawing, _share_x(measured.mean), y, style)
    return drawing.finish("Share of Grad-CAM energy on the trigger: " + "; ".join(said) + ".")


def _tar_mark(drawing: Svg, x: float, y: float, style: str) -> None:
    if style == "good":
        drawing.rect(x - 4.5, y - 4.5, 9, 9, "good")
    elif style == "hollow":
        drawing.circle(x, y, 4.5, "hollow")
    else:
        drawing.diamond(x, y, 4.5, "plain")


def mark(shape: str) -> Markup:
    """A small outcome sign told apart by its shape: found, held, unknown or none (nothing to say for either)."""
    drawing = Svg(24, 24)
    if shape == "found":
        drawing.diamond(12, 12, 11, "alert")
        drawing.rect(11, 6, 2.2, 7.5, "on-mark")
        drawing.rect(11, 15.3, 2.2, 2.4, "on-mark")
    elif shape == "held":
        drawing.circle(12, 12, 11, "good")
        drawing.polyline(((6.5, 12.5), (10.5, 16.5), (17.5, 8.5)), "on-mark-line")
    elif shape == "unknown":
        drawing.rect(2, 2, 20, 20, "hollow")
        drawing.text(12, 17.5, "?", "sign", "middle")
    else:
        drawing.circle(12, 12, 10, "hollow")
        drawing.rect(7, 10.9, 10, 2.2, "muted")
    return drawing.decoration()
