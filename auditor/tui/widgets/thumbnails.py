"""Small pictures in a grid: a column for each image, a row for each way to look at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from auditor.tui.pictures import Pixels
from auditor.tui.text import cut
from auditor.tui.widgets.halfblock import coloured, fit, shaded

LARGEST = 64
SMALLEST = 6
COLUMNS = 4
CAPTION = 12


@dataclass(frozen=True, kw_only=True, eq=False)
class Column:
    """Pictures from top to bottom, and lines below them."""

    pictures: Sequence[Pixels]
    lines: Sequence[str] = field(default_factory=tuple)


class Thumbnails(Widget):
    """As many columns as fit, as large as they can be; `labels` stand above the rows."""

    DEFAULT_CSS = "Thumbnails { width: 1fr; height: 1fr; }"

    def __init__(self, *, empty: str = "", id: str | None = None) -> None:
        super().__init__(id=id)
        self._empty = empty
        self._columns: Sequence[Column] = ()
        self._labels: Sequence[str] = ()
        self._strips: list[Strip] = []
        self._drawn_at: Size | None = None

    def draw(self, columns: Sequence[Column], labels: Sequence[str] = ()) -> None:
        """Show these columns, each with as many pictures as there are labels, where there are labels."""
        self._columns, self._labels, self._drawn_at = columns, labels, None
        self.refresh()

    def render_line(self, y: int) -> Strip:
        if self._drawn_at != self.size:
            self._strips, self._drawn_at = self._lay_out(self.size), self.size
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width, self.rich_style)

    def _lay_out(self, size: Size) -> list[Strip]:
        base = self.rich_style
        dim = base + Style(dim=True)
        if not self._columns or size.width < SMALLEST or size.height < 2:
            return [Strip([Segment(self._empty[: size.width].center(size.width), dim)], size.width)]
        rows = max(len(column.pictures) for column in self._columns)
        words = max(len(column.lines) for column in self._columns)
        labels = list(self._labels[:rows])
        while rows > 1 and size.height - words - len(labels) < rows * SMALLEST // 2:
            rows, labels = rows - 1, labels[1:]  # the last row is the one that tells most
        tall = max(2, (size.height - words - len(labels)) // rows)
        wanted = min(len(self._columns), COLUMNS)
        side = max(SMALLEST, min(LARGEST, tall * 2, (size.width + 1) // wanted - 1))
        cell = min(max(side, CAPTION if words else 0), size.width)
        shown = [Column(pictures=column.pictures[-rows:], lines=column.lines)
                 for column in self._columns[: max(1, (size.width + 1) // (cell + 1))]]  # fmt: skip
        strips: list[Strip] = []
        for row in range(rows):
            if labels:
                strips.append(self._line([Segment(cut(labels[row], size.width), dim)], size.width, base))
            strips += self._pictures([column.pictures[row] if row < len(column.pictures) else None for column in shown],
                                     side, cell, size.width, base)  # fmt: skip
        for number in range(words):
            said = [cut(column.lines[number] if number < len(column.lines) else "", cell) for column in shown]
            strips.append(self._line([Segment(" ".join(said), base)], size.width, base))
        return strips

    def _pictures(self, pictures: Sequence[Pixels | None], side: int, cell: int, width: int, base: Style) -> list[Strip]:
        has_colour = not self.app.no_color and self.app.console.color_system is not None
        drawn = []
        for picture in pictures:
            fitted = None if picture is None else fit(picture, side, side, is_exact=False)
            drawn.append([] if fitted is None else coloured(fitted) if has_colour else shaded(fitted))
        lines = []
        for y in range(max(map(len, drawn), default=0)):
            segments: list[Segment] = []
            for rows in drawn:
                row = rows[y] if y < len(rows) else []
                taken = sum(len(segment.text) for segment in row)
                segments += [*row, Segment(" " * (cell + 1 - taken), base)]
            lines.append(self._line(segments, width, base))
        return lines

    def _line(self, segments: Sequence[Segment], width: int, base: Style) -> Strip:
        return Strip(segments).adjust_cell_length(width, base)
