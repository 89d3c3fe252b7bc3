"""Pictures in cells, bars and lines, checked by their characters."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from auditor.tui.widgets.gauges import spark
from textual.app import App, ComposeResult

from auditor.tui.text import bar, clock
from auditor.tui.widgets.halfblock import HalfBlockImage, coloured, fit, heat_colours, shaded


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


def test_heat_maps_lie_side_by_side() -> None:
    assert heat_colours(np.zeros((3, 4, 5), dtype=np.float32)).shape == (4, 3 * 6 - 1, 3)


def test_bars_are_filled_in_eighths() -> None:
    assert bar(0.5, 4) == "██  "
    assert bar(1 / 32, 4) == "▏   "
    assert bar(2.0, 3) == "███" and bar(-1.0, 3) == "   "


def test_a_line_shows_zero_half_and_one() -> None:
    upper, lower = spark([0.0, 0.5, 1.0], 10)
    assert (upper, lower) == ("  █", "▁██")


def test_a_long_line_keeps_its_last_value() -> None:
    upper, lower = spark([0.0] * 99 + [1.0], 10)
    assert len(upper) == len(lower) == 10 and upper[-1] == "█"


def test_durations_are_short() -> None:
    assert [clock(0.44), clock(12.3), clock(185)] == ["0.4 s", "12 s", "3:05"]
