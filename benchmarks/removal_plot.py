"""The means of `python -m benchmarks.remove` as small multiples: a row an image budget, a column a measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from auditor.report.svg import Svg
from benchmarks.detect.statistics import Estimate, estimate, mean_of
from benchmarks.removal_tables import der
from benchmarks.rows import Row

LEFT, RIGHT, TOP, LINE, PANEL, GAP = 150, 16, 48, 18, 190, 34
LEAST_MODELS = 3  # fewer have no mean worth drawing

Measure = Callable[[Row], float]
MEASURES: tuple[tuple[str, Measure, float, float], ...] = (
    ("ASR after (less is better)", lambda r: float(r["after"]["attack_success_rate"]["rate"]), 0.0, 1.0),
    (
        "accuracy lost (less is better)",
        lambda r: max(0.0, r["before"]["accuracy"]["rate"] - r["after"]["accuracy"]["rate"]),
        0.0,
        0.6,
    ),
    ("DER (more is better)", der, 0.4, 1.0),
)


def draw(rows: Sequence[Row]) -> str:
    """A standalone SVG of every method's means, with 95 % intervals over bases where there are two or more."""
    blocks = [(images, found) for images in sorted({r["images"] for r in rows}) if (found := _methods(rows, images))]
    height = TOP + sum(LINE * (len(found) + 3) for _, found in blocks)
    drawing = Svg(LEFT + len(MEASURES) * (PANEL + GAP) + RIGHT, height)
    drawing.rect(0, 0, drawing.width, height, "paper")
    for column, (title, _, _, _) in enumerate(MEASURES):
        drawing.text(_left(column), TOP - 26, title, "heading")
    top = float(TOP)
    for images, found in blocks:
        _block(drawing, top, images, found)
        top += LINE * (len(found) + 3)
    said = (
        "Mean attack success rate, accuracy lost and defence effectiveness of each removal method, by number of images"
    )
    return str(drawing.finish(said)).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"


def _methods(rows: Sequence[Row], images: int) -> dict[str, list[Row]]:
    """The rows of every method with enough models, best DER first."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row["images"] == images and row.get("after"):
            found.setdefault(row["method"], []).append(row)
    often = {name: of for name, of in found.items() if len(of) >= LEAST_MODELS}
    return dict(sorted(often.items(), key=lambda item: -sum(map(der, item[1])) / len(item[1])))


def _block(drawing: Svg, top: float, images: int, found: dict[str, list[Row]]) -> None:
    drawing.text(8, top + 4, f"{images} images", "heading")
    bottom = top + LINE * (len(found) + 0.6)
    for column, (_, measure, low, high) in enumerate(MEASURES):
        _axis(drawing, column, top, bottom, low, high)
        for number, (name, of) in enumerate(found.items(), start=1):
            y = top + LINE * number
            if column == 0:
                drawing.text(LEFT - 12, y + 4, f"{name} ({len(of)})", "strong" if name == "auto" else "label", "end")
            mean = estimate(mean_of([measure(r) for r in of]), [r["base"] for r in of])
            _mean(drawing, column, y, mean, (low, high), "accent" if name == "auto" else "plain")


def _axis(drawing: Svg, column: int, top: float, bottom: float, low: float, high: float) -> None:
    steps = round((high - low) / 0.2)
    for step in range(steps + 1):
        x = _x(column, low + 0.2 * step, low, high)
        drawing.line(x, top, x, bottom, "grid")
        drawing.text(
            x,
            bottom + 12,
            f"{low + 0.2 * step:.1f}" if column == 2 else f"{100 * (low + 0.2 * step):.0f} %",
            "note",
            "middle",
        )
    drawing.line(_left(column), bottom, _left(column) + PANEL, bottom)


def _mean(drawing: Svg, column: int, y: float, found: Estimate, limits: tuple[float, float], style: str) -> None:
    if found.value is None:
        return
    if found.low is not None and found.high is not None:
        drawing.line(_x(column, found.low, *limits), y, _x(column, found.high, *limits), y, "interval")
    drawing.circle(_x(column, found.value, *limits), y, 4.5, style)


def _left(column: int) -> float:
    return LEFT + column * (PANEL + GAP)


def _x(column: int, value: float, low: float, high: float) -> float:
    return _left(column) + PANEL * (min(high, max(low, value)) - low) / (high - low)
