"""Pictures in cells, bars and lines, checked by their characters."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from textual.app import App, ComposeResult

from auditor.tui.pictures import heated
from auditor.tui.series import Series
from auditor.tui.text import bar, clock
from auditor.tui.widgets.chart import plot
from auditor.tui.widgets.halfblock import HalfBlockImage, coloured, fit, shaded


def test_two_pixels_share_a_cell() -> None:
    # Given: red above blue
    pixels = np.zeros((2, 1, 3), dtype=np.float32)
    pixels[0, 0, 0] = 1.0
    pixels[1, 0, 2] = 1.0
    # When
    rows = coloured(pixels)
    # Then
    cell = rows[0][0]
    assert (len(rows), len(rows[0]), cell.text) == (1, 1, "▀")
    assert cell.style is not None and str(cell.style) == "#ff0000 on #0000ff"


def test_a_32_pixel_picture_fits_32_by_16_cells_exactly() -> None:
    pixels = np.random.default_rng(0).random((32, 32, 3), dtype=np.float32)
    assert np.array_equal(fit(pixels, 32, 32), pixels)


@pytest.mark.parametrize(
    ("width", "height", "shape"), [(64, 70, (64, 64)), (16, 99, (16, 16)), (99, 9, (10, 9)), (1, 1, (2, 1))]
)
def test_fit_scales_up_in_whole_multiples_and_down_by_means(width: int, height: int, shape: tuple[int, int]) -> None:
    pixels = np.full((32, 32, 3), 0.25, dtype=np.float32)
    fitted = fit(pixels, width, height)
    assert fitted.shape[:2] == shape
    assert np.allclose(fitted, 0.25)


def test_area_means_keep_the_mean() -> None:
    pixels = np.zeros((4, 4, 3), dtype=np.float32)
    pixels[:2] = 1.0
    assert fit(pixels, 2, 2)[:, 0, 0].tolist() == [1.0, 0.0]


def test_without_colour_brightness_becomes_shading() -> None:
    pixels = np.linspace(0, 1, 10, dtype=np.float32)[None, :, None].repeat(2, axis=0).repeat(3, axis=2)
    assert shaded(pixels)[0][0].text == "  ░░▒▒▓▓██"


def test_a_flat_picture_without_colour_is_not_stretched() -> None:
    assert shaded(np.zeros((2, 3, 3), dtype=np.float32))[0][0].text == "   "


@pytest.mark.parametrize("no_color", [False, True])
def test_the_widget_falls_back_to_shading(monkeypatch: pytest.MonkeyPatch, no_color: bool) -> None:
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")

    class One(App[None]):
        def compose(self) -> ComposeResult:
            yield HalfBlockImage()

    async def main() -> str:
        app = One()
        async with app.run_test(size=(8, 4)) as pilot:
            widget = app.query_one(HalfBlockImage)
            widget.pixels = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)[..., None].repeat(3, axis=2)
            await pilot.pause()
            return "".join(segment.text for y in range(4) for segment in widget.render_line(y))

    text = asyncio.run(main())
    assert ("▀" in text) is not no_color
    assert ("█" in text) is no_color


def test_heat_goes_from_dark_to_bright() -> None:
    colours = heated(np.array([[0.0, 0.5, 1.0]], dtype=np.float32))
    assert colours.shape == (1, 3, 3) and colours.sum(axis=-1)[0].tolist() == sorted(colours.sum(axis=-1)[0].tolist())


def test_bars_are_filled_in_eighths() -> None:
    assert bar(0.5, 4) == "██  "
    assert bar(1 / 32, 4) == "▏   "
    assert bar(2.0, 3) == "███" and bar(-1.0, 3) == "   "


def test_a_line_goes_from_the_bottom_to_the_top_without_gaps() -> None:
    # Given two values over two cells, two columns of dots each: the second joins up to the top
    assert plot([0.0], 1, 1) == ["\u28c0"]
    assert plot([1.0], 1, 1) == ["\u2809"]
    assert plot([0.0, 1.0], 2, 1) == ["\u28c0\u280f"]
    assert plot([0.0, 1.0], 4, 1, 0.5) == ["\u28c0\u280f\u2800\u2800"]


def test_a_long_line_keeps_its_last_value_at_the_right_end() -> None:
    rows = plot([0.0] * 99 + [1.0], 5, 2)
    assert [len(row) for row in rows] == [5, 5] and ord(rows[0][-1]) & 0x08


def test_a_series_stays_small_and_keeps_its_ends() -> None:
    series = Series(most=8)
    for value in range(1000):
        series.append(float(value))
    assert len(series.values) <= 10 and series.values[0] == 0.0 and series.values[-1] == series.latest == 999.0


def test_durations_are_short() -> None:
    assert [clock(0.44), clock(12.3), clock(185)] == ["0.4 s", "12 s", "3:05"]
