"""Reads what a person typed behind a flag. Every function raises UsageError naming flag and value."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from auditor.errors import UsageError, printable

FORMATS = ("text", "json")
LARGEST_SCALE = 10.0
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """`stdout` is the format printed; `files` are (format, path) pairs to write as well."""

    stdout: Literal["text", "json"] = "text"
    files: tuple[tuple[str, Path], ...] = ()


def seconds(flag: str, written: str | None) -> float | None:
    """`90`, `90s`, `10m` and `1h` as seconds."""
    if written is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", written.strip().lower(), re.ASCII)
    duration = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if not 0 < duration < math.inf:
        raise UsageError(f"{flag} takes a duration such as 90s, 10m or 1h, not {_quoted(written)}.")
    return duration


def channel_means(flag: str, written: str | None) -> list[float] | None:
    """Comma-separated means, each in [0, 1]."""
    means = _numbers(flag, written)
    if means and not all(0 <= mean <= 1 for mean in means):
        raise UsageError(
            f"{flag} is in [0, 1] units, so {_quoted(written)} is out of range.", "Divide 8-bit values by 255."
        )
    return means


def channel_scales(flag: str, written: str | None) -> list[float] | None:
    """Comma-separated standard deviations, each above 0."""
    scales = _numbers(flag, written)
    if scales and not all(0 < scale <= LARGEST_SCALE for scale in scales):
        raise UsageError(
            f"{flag} is above 0 and in [0, 1] units, so {_quoted(written)} is out of range.",
            "Divide 8-bit values by 255.",
        )
    return scales


def _numbers(flag: str, written: str | None) -> list[float] | None:
    if written is None:
        return None
    try:
        numbers = [float(part) for part in written.split(",")]
    except ValueError:
        numbers = []
    if not numbers or len(numbers) > 16 or not all(map(math.isfinite, numbers)):
        raise UsageError(
            f"{flag} takes one number, or one for each channel as in 0.5,0.5,0.5, not {_quoted(written)}."
        )
    return numbers


def class_indices(flag: str, written: str | None) -> list[int] | None:
    """Comma-separated class indices, in order and each once."""
    if written is None:
        return None
    parts = [part.strip() for part in written.split(",")]
    if not all(re.fullmatch(r"\d{1,7}", part, re.ASCII) for part in parts):
        raise UsageError(f"{flag} takes class indices from 0 such as 3,7, not {_quoted(written)}.")
    return sorted({int(part) for part in parts})


def device(flag: str, written: str) -> str:
    """auto, cpu, cuda or cuda:N; whether it is there is for the audit to find out."""
    chosen = written.strip().lower()
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", chosen, re.ASCII):
        raise UsageError(f"{flag} is auto, cpu, cuda or cuda:N, not {_quoted(written)}.")
    return chosen


def choice(flag: str, written: str | None, choices: Collection[str]) -> str | None:
    """One of the choices; a near miss is suggested."""
    if written is None or written in choices:
        return written
    near = difflib.get_close_matches(written, choices, n=1)
    hint = f"Did you mean {near[0]}?" if near else ""
    raise UsageError(f"{flag} is one of {', '.join(choices)}, not {_quoted(written)}.", hint)


def settings(flag: str, written: list[str] | None) -> dict[str, str]:
    """`NAME=VALUE`, any number of times; the last of a name holds."""
    found = {}
    for item in written or []:
        name, is_pair, value = item.partition("=")
        if not is_pair or not name.strip():
            raise UsageError(f"{flag} is NAME=VALUE, not {_quoted(item)}.", f"For example {flag} learning_rate=0.01.")
        found[name.strip()] = value
    return found


def outputs(flag: str, written: list[str] | None) -> Outputs:
    """`json`, and `FMT=PATH` any number of times; without a bare format stdout gets text.

    The folder of a path must exist: better found out now than after the audit.
    """
    bare: list[Any] = []
    files: list[tuple[str, Path]] = []
    for item in written or []:
        name, is_file, path = item.partition("=")
        if name not in FORMATS or (is_file and not path):
            raise UsageError(f"{flag} is text or json, or text=PATH or json=PATH, not {_quoted(item)}.")
        if is_file:
            files.append((name, _writable(flag, Path(path))))
        else:
            bare.append(name)
    if len(set(bare)) > 1:
        raise UsageError(f"{flag} can print one format only.", f"Send the other to a file: {flag} json=result.json")
    return Outputs(stdout=bare[0] if bare else "text", files=tuple(files))


def _writable(flag: str, path: Path) -> Path:
    try:
        folder_exists, is_folder = path.parent.is_dir(), path.is_dir()
    except (OSError, ValueError):
        folder_exists, is_folder = False, False
    if is_folder or not folder_exists:
        why = "is a folder" if is_folder else "lies in a folder that does not exist"
        raise UsageError(f"{flag}: {_quoted(path)} {why}.", "Give the path of a file in an existing folder.")
    return path


def _quoted(written: object) -> str:
    return f"'{printable(written, 80)}'"
