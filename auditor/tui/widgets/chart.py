"""A line over time in Braille dots: two by four to a cell, with its latest value in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.text import Text

from auditor.report.text import number
from auditor.tui.theme import BLUE
from auditor.tui.widgets.steady import Steady

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BLANK = 0x2800


class Chart(Steady):
    """One line of words above a plot that fills the rest.

    `scale` is the fixed range of the values, or None: then it is that of the values, by orders of magnitude.
    """

    DEFAULT_CSS = "Chart { width: 1fr; height: 1fr; min-height: 2; }"

    def __init__(self, label: str, *, scale: tuple[float, float] | None = (0.0, 1.0), id: str | None = None) -> None:
        super().__init__(id=id)
        self._label = label
        self._scale = scale
        self._drawn: tuple[Sequence[float], str, Sequence[float], float] = ((), "", (), 1.0)

    def on_resize(self) -> None:
        """The plot is made for a size."""
        values, said, beside, share = self._drawn
        self.draw(values, said, beside, share=share)

    def draw(self, values: Sequence[float], said: str, beside: Sequence[float] = (), *, share: float = 1.0) -> None:
        """Show all values so far and the latest in words; `beside` is drawn dim behind them.

        The values fill `share` of the width, in [0, 1]: as far as the work has come.
        """
        self._drawn = values, said, beside, share
        width, height = self.content_size.width, self.content_size.height
        head = Text.assemble((f"{self._label} ", "dim"), (said, "bold"))
        if self._scale is None and values:
            head.append(f"  {number(min(values))} to {number(max(values))}", "dim")
        if width < 4 or height < 2:
            self.say(head)
            return
        low, high = self._scale or _range([*values, *beside])
        scaled = [self._place(value, low, high) for value in values]
        rows = plot(scaled, width, height - 1, share)
        other = [self._place(value, low, high) for value in beside]
        behind = plot(other, width, height - 1, share) if beside else None
        head.truncate(width, overflow="ellipsis")
        self.say(Text("\n").join([head, *(_row(row, None if behind is None else behind[i]) for i, row in enumerate(rows))]))

    def _place(self, value: float, low: float, high: float) -> float:
        value = value if self._scale is not None else _logged(value)
        return (value - low) / (high - low) if high > low else 0.5


def _row(front: str, behind: str | None) -> Text:
    if behind is None:
        return Text(front, style=BLUE)
    blank = chr(_BLANK)
    said = Text()
    for mine, other in zip(front, behind, strict=True):
        said.append(*((mine, BLUE) if mine != blank else (other, "dim")))
    return said


def _logged(value: float) -> float:
    return math.log10(max(abs(value), 1e-6))


def _range(values: Sequence[float]) -> tuple[float, float]:
    logs = [_logged(value) for value in values]
    return (min(logs), max(logs)) if logs else (0.0, 1.0)


def plot(values: Sequence[float], width: int, height: int, share: float = 1.0) -> list[str]:
    """Rows of Braille cells with a line through values in [0, 1], the first at the left end.

    The values are spread evenly over `share` of the width, the last at its end.
    """
    across, down = max(1, round(width * 2 * min(max(share, 0.0), 1.0))), height * 4
    cells = [[_BLANK] * width for _ in range(height)]
    before: int | None = None
    for x in range(across if values else 0):
        value = values[(x + 1) * len(values) // across - 1] if len(values) > across else values[x * len(values) // across]
        y = round((1 - min(max(value, 0.0), 1.0)) * (down - 1))
        _join(cells, x, y if before is None else before, y)
        before = y
    return ["".join(map(chr, row)) for row in cells]


def _join(cells: list[list[int]], x: int, start: int, end: int) -> None:
    """Dots in one column from next to `start` up to `end`, so that the line has no gaps."""
    if abs(end - start) > 1:
        start += 1 if end > start else -1
    else:
        start = end
    for y in range(min(start, end), max(start, end) + 1):
        cells[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
