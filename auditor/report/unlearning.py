"""Charts of unlearning as it ran: rates, attention beside its control, loss terms; and of waking it again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from auditor.domain import Probe
from auditor.report.curves import step_axis, thinned
from auditor.report.figures import RIGHT, WIDTH
from auditor.report.log import UnlearnCurve, UnlearnPoint
from auditor.report.svg import Svg
from auditor.report.text import number, percent, shorten, words

LEFT, TOP, HEIGHT = 44.0, 44.0, 200.0
STYLES = ("good-line", "dashed-line", "accent-line", "dotted-line")
MOST_LINES = len(STYLES)

Points = Sequence[tuple[int, float | None]]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart, its legend's words and its style."""

    label: str
    style: str
    points: Points


def title_of(curve: UnlearnCurve, *, alone: bool) -> str:
    """The run in words; `alone` when its attempt has no other."""
    run = "" if alone else f", run {curve.run}"
    kept = " (kept)" if curve.accepted else ""
    return f"{shorten(words(curve.method), 24)}, attempt {curve.attempt}{run}{kept}"


def rates_chart(curve: UnlearnCurve, title: str) -> Markup | None:
    """Clean accuracy and proxy attack success rate over one run; None below two steps."""
    lines = [
        Line(label="clean accuracy", style="good-line", points=[(p.step, p.clean_accuracy) for p in curve.points]),
        Line(label="trigger works", style="dashed-line", points=[(p.step, p.proxy_attack_success_rate) for p in curve.points]),
    ]
    return line_chart(title, lines, top_value=1.0, as_percent=True)


def attention_chart(curve: UnlearnCurve) -> Markup | None:
    """TAR and that of random masks over one run; None when it was not measured."""
    lines = [
        Line(label="TAR", style="dashed-line", points=[(p.step, p.tar) for p in curve.points]),
        Line(label="random masks", style="dotted-line", points=[(p.step, p.tar_random) for p in curve.points]),
    ]
    return line_chart("attention on the trigger", lines, as_percent=True)


def losses_chart(curve: UnlearnCurve) -> Markup | None:
    """At most four loss terms over one run; None when the method reports none."""
    names = list(dict.fromkeys(name for point in curve.points for name in point.losses))[:MOST_LINES]
    lines = [
        Line(label=words(name), style=style, points=[(p.step, _finite(p, name)) for p in curve.points])
        for name, style in zip(names, STYLES, strict=False)
    ]
    return line_chart("loss terms", lines, as_percent=False)


def relearning_chart(probe: Probe) -> Markup | None:
    """How fast the model takes the trigger up again, beside how fast it takes it up toward other classes."""
    lines = [
        Line(label="former target", style="dashed-line", points=list(enumerate(probe.curve, start=1))),
        Line(label="other classes, mean", style="dotted-line", points=list(enumerate(probe.reference_curve, start=1))),
    ]
    return line_chart("re-learning the trigger", lines, top_value=1.0, as_percent=True)


def line_chart(title: str, lines: Sequence[Line], *, as_percent: bool, top_value: float = 0.0) -> Markup | None:
    """Lines over steps from 0 to the largest value, at least `top_value`; None where no line has two points."""
    drawn = [line for line in lines if sum(_is_known(v) for _, v in line.points) >= 2]
    known = [(s, v) for line in drawn for s, v in line.points if v is not None and _is_known(v)]
    if not known or known[0][0] == max(s for s, _ in known):
        return None
    first, last = min(s for s, _ in known), max(s for s, _ in known)
    most = max(top_value, max(v for _, v in known)) or 1.0
    drawing, bottom = Svg(WIDTH, HEIGHT), HEIGHT - 18
    drawing.text(0, 13, shorten(title, 50), "heading")
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * (bottom - TOP)
        drawing.line(LEFT, y, WIDTH - RIGHT, y, "grid")
        drawing.text(LEFT - 6, y + 4, _tick(share * most, as_percent), "note", "end")
    step_axis(drawing, LEFT, bottom, last, first)
    x = LEFT
    for line in drawn:
        points = [(s, v) for s, v in thinned(line.points) if v is not None and _is_known(v)]
        at = [(LEFT + (s - first) / (last - first) * (WIDTH - RIGHT - LEFT), bottom - _share(v / most) * (bottom - TOP))
              for s, v in points]  # fmt: skip
        drawing.polyline(at, line.style)
        drawing.polyline(((x, 29), (x + 18, 29)), line.style)
        label = shorten(line.label, 22)
        drawing.text(x + 23, 33, label, "note")
        x += 35 + 5.4 * len(label)
    return drawing.finish(_in_words(title, drawn, last, as_percent))


def _in_words(title: str, lines: Sequence[Line], last: int, as_percent: bool) -> str:
    ends = [next((v for _, v in reversed(line.points) if v is not None and _is_known(v)), None) for line in lines]
    said = (f"{line.label} {percent(end) if as_percent else number(end)}" for line, end in zip(lines, ends, strict=True))
    return f"{title}: {', '.join(said)} at step {last}."


def _tick(value: float, as_percent: bool) -> str:
    return f"{100 * value:.3g} %" if as_percent else number(value, 2)


def _finite(point: UnlearnPoint, name: str) -> float | None:
    value = point.losses.get(name)
    return max(0.0, value) if value is not None and _is_known(value) else None


def _is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _share(value: float) -> float:
    return min(1.0, max(0.0, value))
