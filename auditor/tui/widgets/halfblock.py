"""A picture in half-block characters: two pixels in each cell, upper as foreground, lower as background."""

from __future__ import annotations

from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from auditor.tui.pictures import Pixels

SHADES = " ░▒▓█"
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


class PictureWidget(Widget):
    """Shows `pixels`, (H, W, 3) in [0, 1], as large as fits, and says `empty` where there are none."""

    DEFAULT_CSS = "PictureWidget { width: 1fr; height: 1fr; }"

    pixels: reactive[Pixels | None] = reactive(None, layout=False, always_update=True)

    def __init__(self, *, empty: str = "", id: str | None = None) -> None:
        super().__init__(id=id)
        self._empty = empty


class HalfBlockImage(PictureWidget):
    """In characters that every terminal has; by shading where there is no colour."""

    def __init__(self, *, empty: str = "", is_exact: bool = True, id: str | None = None) -> None:
        """`is_exact` keeps every pixel equally large."""
        super().__init__(empty=empty, id=id)
        self._is_exact = is_exact
        self._strips: list[Strip] = []
        self._drawn_at: Size | None = None

    def watch_pixels(self) -> None:
        self._drawn_at = None
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One line of cells, centred; drawn again when the picture or the size changes."""
        if self._drawn_at != self.size:
            self._strips = self._draw(self.size)
            self._drawn_at = self.size
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width, self.rich_style)

    def _draw(self, size: Size) -> list[Strip]:
        base = self.rich_style
        if size.width < 1 or size.height < 1:
            return []
        if self.pixels is None:
            said = self._empty[: size.width]
            return [Strip([Segment(said.center(size.width), base + Style(dim=True))], size.width)]
        fitted = fit(self.pixels, size.width, size.height * 2, is_exact=self._is_exact)
        has_colour = not self.app.no_color and self.app.console.color_system is not None
        rows = coloured(fitted) if has_colour else shaded(fitted)
        above = (size.height - len(rows)) // 2
        blank = Strip.blank(size.width, base)
        return [blank] * above + [_centred(row, size.width, base) for row in rows]


def _centred(row: list[Segment], width: int, base: Style) -> Strip:
    taken = sum(len(segment.text) for segment in row)
    left = (width - taken) // 2
    return Strip([Segment(" " * left, base), *row, Segment(" " * (width - taken - left), base)], width)


def fit(pixels: Pixels, width: int, height: int, *, is_exact: bool = True) -> Pixels:
    """The picture scaled into `width` x `height`; rows are even in number.

    Up by the nearest pixel, in whole multiples when `is_exact`; down by area means.
    """
    rows, columns = pixels.shape[:2]
    scale = min(width / columns, height / rows)
    if scale >= 1:
        scale = int(scale) if is_exact else scale
        along_rows = (np.arange(int(rows * scale)) / scale).astype(int)
        along_columns = (np.arange(int(columns * scale)) / scale).astype(int)
        scaled = pixels[along_rows][:, along_columns]
    else:
        scaled = _means(_means(pixels, max(1, int(rows * scale)), 0), max(1, int(columns * scale)), 1)
    return scaled if scaled.shape[0] % 2 == 0 else np.concatenate([scaled, scaled[-1:]])


def _means(pixels: Pixels, parts: int, axis: int) -> Pixels:
    """Means over `parts` nearly equal runs along an axis."""
    starts = np.arange(parts) * pixels.shape[axis] // parts
    counts = np.diff(np.append(starts, pixels.shape[axis]))
    shape = [1] * pixels.ndim
    shape[axis] = parts
    means = np.add.reduceat(pixels, starts, axis=axis) / counts.reshape(shape)
    return means.astype(np.float32)


def coloured(pixels: Pixels) -> list[list[Segment]]:
    """Rows of cells: `▀` with the upper pixel as its colour and the lower behind it, equal neighbours in one."""
    levels: NDArray[np.uint8] = np.rint(pixels * 255).astype(np.uint8)
    upper, lower = levels[0::2].tolist(), levels[1::2].tolist()
    return [[Segment("▀" * sum(1 for _ in cells), _style(tuple(above), tuple(below)))
             for (above, below), cells in groupby(zip(tops, bottoms, strict=True))]
            for tops, bottoms in zip(upper, lower, strict=True)]  # fmt: skip


def _style(above: tuple[int, int, int], below: tuple[int, int, int]) -> Style:
    return Style.from_color(Color.from_rgb(*above), Color.from_rgb(*below))


def shaded(pixels: Pixels) -> list[list[Segment]]:
    """Rows of shading characters by brightness, each the mean of two pixels; stretched to the full range."""
    grey = pixels @ _LUMA
    cells = (grey[0::2] + grey[1::2]) / 2
    low, high = float(cells.min()), float(cells.max())
    spread = (cells - low) / (high - low) if high > low else cells
    index = np.minimum((spread * len(SHADES)).astype(int), len(SHADES) - 1)
    return [[Segment("".join(SHADES[i] for i in row), Style())] for row in index.tolist()]
