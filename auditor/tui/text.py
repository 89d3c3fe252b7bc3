"""What the screens show, as rich Text: never markup, since names and paths come from strangers."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from auditor.domain import Interval, Rate
from auditor.errors import printable
from auditor.report.text import NOTHING, interval_of, number, percent
from auditor.tui.theme import AMBER, GREEN, RED

DONE, RUNNING, FAILED, WARNING, NOTE = "✓", "▸", "✗", "!", "·"
STYLES = {DONE: GREEN, RUNNING: "bold", FAILED: f"bold {RED}", WARNING: AMBER, NOTE: "dim"}
BLOCKS = " ▏▎▍▌▋▊▉█"


def shown(value: object, limit: int = 200) -> str:
    """One line that is safe to show."""
    return printable(value, limit)


def cut(text: str, width: int) -> str:
    """The text in exactly `width` cells, cut with an ellipsis or filled with spaces."""
    return set_cell_size(text, width) if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def marked(mark: str, value: object, limit: int = 400) -> Text:
    """A line with a sign in front; the sign says what its colour says."""
    return Text.assemble((mark, STYLES.get(mark, "")), " ", printable(value, limit))


def lines(*parts: Text | str) -> Text:
    """Several lines as one Text; strings are taken as they are, without markup."""
    return Text("\n").join(part if isinstance(part, Text) else Text(part) for part in parts)


def bar(share: float, width: int) -> str:
    """A horizontal bar of `width` cells filled to `share` in [0, 1], in eighths of a cell."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (BLOCKS[rest] if rest else "")).ljust(width)


def clock(seconds: float) -> str:
    """A short duration: `0.4 s`, `12 s`, `3:05`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 60 else f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def rate_of(rate: Rate | None) -> str:
    """`95.6 % (43/45; 85-99)`: rate, count and 95 % interval; a dash where nothing was measured."""
    if rate is None or rate.rate is None:
        return NOTHING
    return f"{percent(rate.rate)} ({rate.hits}/{rate.total}; {100 * rate.low:.0f}-{100 * rate.high:.0f})"


def count_of(rate: Rate) -> str:
    """`17 of 17 (82-100 %)`: a count with its 95 % interval; a dash where nothing was measured."""
    if rate.rate is None:
        return NOTHING
    return f"{rate.hits} of {rate.total} ({100 * rate.low:.0f}-{100 * rate.high:.0f} %)"


def interval_text(interval: Interval | None) -> str:
    """`0.71 (0.62 to 0.80)`, or a dash where it is undefined."""
    if interval is None or interval.mean is None:
        return NOTHING
    return f"{number(interval.mean)} ({interval_of(interval, as_percent=False)})"
