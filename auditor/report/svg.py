"""A small writer of accessible inline SVG.

Every shape carries its print colours as attributes and a class; `screen.css` recolours the
classes for dark screens. All text is escaped here, so the Markup it returns is safe.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

FONT = "Liberation Sans, Helvetica Neue, Helvetica, Arial, DejaVu Sans, sans-serif"

_INK, _MUTED, _LINE, _GRID = "#17212b", "#56616e", "#8995a1", "#dfe5ea"
_PLAIN, _ALERT, _GOOD, _ACCENT = "#7d8996", "#a61e1e", "#0a6b68", "#1d4f7c"

LARGEST_POWER = 30.0

_STYLES = {
    "label": f'fill="{_INK}" font-size="11"',
    "strong": f'fill="{_INK}" font-size="11" font-weight="700"',
    "note": f'fill="{_MUTED}" font-size="10"',
    "heading": f'fill="{_INK}" font-size="12" font-weight="700"',
    "sign": f'fill="{_INK}" font-size="16" font-weight="700" font-family="{FONT}"',
    "axis": f'stroke="{_LINE}" stroke-width="1"',
    "grid": f'stroke="{_GRID}" stroke-width="1"',
    "median": f'stroke="{_MUTED}" stroke-width="1" stroke-dasharray="3 3"',
    "paper": 'fill="#ffffff"',
    "plain": f'fill="{_PLAIN}"',
    "alert": f'fill="{_ALERT}"',
    "good": f'fill="{_GOOD}"',
    "accent": f'fill="{_ACCENT}"',
    "hollow": f'fill="#ffffff" stroke="{_INK}" stroke-width="1.6"',
    "plain-line": f'stroke="{_PLAIN}" stroke-width="1" fill="none"',
    "alert-line": f'stroke="{_ALERT}" stroke-width="2.2" fill="none"',
    "good-line": f'stroke="{_GOOD}" stroke-width="2.2" fill="none"',
    "accent-line": f'stroke="{_ACCENT}" stroke-width="2.2" fill="none"',
    "dashed-line": f'stroke="{_ALERT}" stroke-width="2.2" fill="none" stroke-dasharray="6 3"',
    "dotted-line": f'stroke="{_MUTED}" stroke-width="1.6" fill="none" stroke-dasharray="2 3"',
    "muted": f'fill="{_MUTED}"',
    "on-mark": 'fill="#ffffff"',
    "on-mark-line": 'stroke="#ffffff" stroke-width="2.6" fill="none" stroke-linecap="round"',
    "interval": f'stroke="{_INK}" stroke-width="1.6"',
}


def _n(value: float) -> str:
    """A coordinate, at most two decimals; never NaN or infinite."""
    return f"{value if math.isfinite(value) else 0.0:.2f}".rstrip("0").rstrip(".")


class Svg:
    """One drawing, `width` by `height` units, collected shape by shape."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._parts: list[str] = []

    def _style(self, style: str) -> str:
        return f'class="c-{style}" {_STYLES[style]}'

    def text(self, x: float, y: float, content: str, style: str = "label", anchor: str = "start") -> None:
        self._parts.append(
            f'<text x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}" {self._style(style)}>{escape(content)}</text>'
        )

    def halo(self, x: float, y: float, content: str, anchor: str = "start") -> None:
        """Blank the ground where `text` is about to be drawn, so that no line strikes it through."""
        width = 5.9 * len(content) + 8
        left = x - 4 if anchor == "start" else x - width + 4
        self.rect(left, y - 10, width, 13, "paper")

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str = "axis") -> None:
        self._parts.append(
            f'<line x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}" {self._style(style)}></line>'
        )

    def circle(self, x: float, y: float, r: float, style: str = "plain") -> None:
        self._parts.append(f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(r)}" {self._style(style)}></circle>')

    def rect(self, x: float, y: float, width: float, height: float, style: str = "accent") -> None:
        self._parts.append(
            f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(max(0.0, width))}" height="{_n(height)}" '
            f"{self._style(style)}></rect>"
        )

    def diamond(self, x: float, y: float, r: float, style: str = "alert") -> None:
        corners = ((x, y - r), (x + r, y), (x, y + r), (x - r, y))
        points = " ".join(f"{_n(a)},{_n(b)}" for a, b in corners)
        self._parts.append(f'<polygon points="{points}" {self._style(style)}></polygon>')

    def polyline(self, points: Sequence[tuple[float, float]], style: str) -> None:
        joined = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
        self._parts.append(f'<polyline points="{joined}" {self._style(style)}></polyline>')

    def decoration(self) -> Markup:
        """The drawing as an `<svg>` that adds nothing to the words beside it."""
        return Markup(
            f'<svg aria-hidden="true" viewBox="0 0 {_n(self.width)} {_n(self.height)}">{"".join(self._parts)}</svg>'
        )

    def finish(self, alt: str) -> Markup:
        """The drawing as one `<svg>` whose title is its alternative text."""
        said = escape(alt)
        return Markup(
            f'<svg role="img" aria-label="{said}" viewBox="0 0 {_n(self.width)} {_n(self.height)}" '
            f'font-family="{FONT}"><title>{said}</title>{"".join(self._parts)}</svg>'
        )


class LogScale:
    """Maps positive values to x (or y) on a logarithmic axis; values beyond 1e-30 and 1e30 sit at its ends."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        logs = [min(LARGEST_POWER, max(-LARGEST_POWER, math.log10(v))) for v in values if v > 0] or [0.0]
        low, high = min(logs), max(logs)
        pad = max(0.06 * (high - low), 0.08)
        self.low, self.high, self.start, self.end = low - pad, high + pad, start, end

    def __call__(self, value: float) -> float:
        share = (math.log10(max(value, 1e-300)) - self.low) / (self.high - self.low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values inside the axis: the finest of 1-2-5, 1-3 and decades that has at most `most`."""
        decades = range(math.floor(self.low), math.ceil(self.high) + 1)
        for steps in ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
            found = [10.0**d * s for d in decades for s in steps if self.low <= d + math.log10(s) <= self.high]
            if 2 <= len(found) <= most:
                return found
        found = [10.0**d for d in decades if self.low <= d <= self.high]
        if len(found) >= 2:
            return found[:: -(-len(found) // most)]
        return [float(f"{10 ** (self.low + share * (self.high - self.low)):.2g}") for share in (0.1, 0.5, 0.9)]
