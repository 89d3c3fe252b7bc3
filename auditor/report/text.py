"""Turns untrusted text and numbers into what a reader sees.

Everything in `result.json` may come from the maker of the checkpoint: class names, paths,
names in a pickle. `scrub` takes the characters out that could reorder or hide text; Jinja's
autoescape and `markupsafe.escape` take care of the markup.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import Any

from auditor.domain import Change, Interval, Rate

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
LONGEST_TEXT = 4000
DEEPEST = 4
_HIDING = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
NOTHING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def scrub(text: str, longest: int = LONGEST_TEXT) -> str:
    """The text with control, bidirectional, invisible and unpaired characters replaced, and capped.

    Each becomes a visible U+FFFD, so that tampering shows; newlines stay, tabs become spaces.
    """
    clean = "".join(
        " " if c == "\t" else c if c == "\n" or unicodedata.category(c) not in _HIDING else REPLACEMENT
        for c in text[: longest + 1]
    )
    return clean if len(text) <= longest else clean[:longest] + " \N{HORIZONTAL ELLIPSIS}"


def scrub_tree(value: Any) -> Any:
    """The JSON value with every string and key in it scrubbed."""
    match value:
        case str():
            return scrub(value)
        case list():
            return [scrub_tree(item) for item in value]
        case dict():
            return {scrub(key): scrub_tree(item) for key, item in value.items()}
    return value


def shorten(text: str, longest: int) -> str:
    """The text on one line, cut to `longest` characters with an ellipsis."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: max(1, longest - 1)] + "\N{HORIZONTAL ELLIPSIS}"


class ClassNames:
    """Names classes by index, as `3 (cat)`, or `class 3` where the images came without names."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._names = [shorten(name, 40) for name in names]

    def bare(self, index: int) -> str:
        if 0 <= index < len(self._names) and self._names[index] not in {"", str(index)}:
            return self._names[index]
        return f"class {index}"

    def __call__(self, index: int) -> str:
        bare = self.bare(index)
        return bare if bare == f"class {index}" else f"{index} ({bare})"

    def listed(self, indices: Sequence[int], most: int = 8) -> str:
        """Several classes in words, the rest counted."""
        shown = ", ".join(self(index) for index in indices[:most])
        return shown if len(indices) <= most else f"{shown} and {len(indices) - most} more"


def percent(share: float | None) -> str:
    """`0.9561` as `95.6 %`."""
    return NOTHING if share is None else f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def number(value: float | None, digits: int = 3) -> str:
    """A number at up to `digits` significant figures, never in exponent form between 1e-4 and 1e7."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return NOTHING
    if isinstance(value, int) or (abs(value) < 1e7 and value == int(value)):
        return f"{int(value):,}".replace(",", "\N{NARROW NO-BREAK SPACE}").replace("-", MINUS)
    size = abs(value)
    if not 1e-4 <= size < 1e7:
        return f"{value:.{digits - 1}e}".replace("-", MINUS)
    decimals = max(0, digits - 1 - _magnitude(size))
    written = f"{value:.{decimals}f}"
    return (written.rstrip("0").rstrip(".") if "." in written else written).replace("-", MINUS)


def _magnitude(size: float) -> int:
    """The power of ten of a positive number."""
    return int(f"{size:e}".split("e")[1])


def count_of(rate: Rate) -> str:
    return f"{rate.hits} of {rate.total}"


def interval_of(measured: Rate | Interval, *, as_percent: bool = True) -> str:
    """The 95 % interval in words, or a dash where it is undefined."""
    low, high = measured.low, measured.high
    if low is None or high is None:
        return NOTHING
    if as_percent:
        return f"{100 * low:.1f} to {100 * high:.1f}\N{NO-BREAK SPACE}%".replace("-", MINUS)
    return f"{number(low)} to {number(high)}"


def points(change: Change | None) -> str:
    """The change of a rate in percentage points, with its sign."""
    if change is None or change.before is None or change.after is None:
        return NOTHING
    if change.before.rate is None or change.after.rate is None:
        return NOTHING
    moved = round(100 * (change.after.rate - change.before.rate), 1)
    return "0.0 points" if moved == 0 else f"{moved:+.1f} points".replace("-", MINUS)


def in_words(rate: Rate) -> str:
    """A rate as a sentence part, with its count and interval."""
    if rate.rate is None:
        return "not measured (no images)"
    return f"{percent(rate.rate)} ({count_of(rate)}; 95\N{NO-BREAK SPACE}% interval {interval_of(rate)})"


def byte_size(size: int) -> str:
    """`1234567` as `1.23 MB`, in powers of 1000."""
    scaled = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(scaled) < 1000:
            return f"{number(scaled if unit != 'bytes' else size)} {unit}"
        scaled /= 1000
    return f"{number(scaled)} TB"


def duration(seconds: float) -> str:
    """Seconds as `45.2 s`, `3 min 05 s` or `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f}\N{NO-BREAK SPACE}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def words(identifier: str) -> str:
    """`all_to_one` as `all to one`."""
    return identifier.replace("_", " ")


def flat_pairs(values: dict[str, Any], most: int = 40) -> list[tuple[str, str]]:
    """A free-form dictionary (method parameters, calibration) as readable pairs."""
    pairs = [(words(key), _plain(value)) for key, value in list(values.items())[:most]]
    if len(values) > most:
        pairs.append(("\N{HORIZONTAL ELLIPSIS}", f"{len(values) - most} more"))
    return pairs


def _plain(value: Any, depth: int = 0) -> str:
    match value:
        case None:
            return NOTHING
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return number(value)
        case list() | dict() if depth == DEEPEST:
            return "\N{HORIZONTAL ELLIPSIS}"
        case list():
            more = [f"{len(value) - 20} more"] if len(value) > 20 else []
            return shorten(", ".join([*(_plain(item, depth + 1) for item in value[:20]), *more]), 400)
        case dict():
            said = (f"{key} {_plain(item, depth + 1)}" for key, item in list(value.items())[:20])
            return shorten(", ".join(said), 400)
    return shorten(str(value), 400)
