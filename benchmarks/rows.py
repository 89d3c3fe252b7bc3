"""Measured rows: kept as JSON lines, so that an interrupted run goes on where it stopped, and shown as tables."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from auditor.domain import Rate

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / ".zoo" / "results"
Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """The rows of a file, none when it is not there. A last line cut short by an interrupt is dropped.

    Raises ValueError when any other line is not a JSON object.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows: list[Row] = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):
                break
            raise ValueError(f"{path}, line {number} is not JSON: delete that line, or the file") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number} is not an object: delete that line, or the file")
        rows.append(row)
    return rows


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add a row at the end, on a line of its own even after one that was cut short."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = path.read_bytes() if path.exists() else b""
    if kept and not kept.endswith(b"\n"):
        path.write_bytes(kept[: kept.rfind(b"\n") + 1])
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, allow_nan=False) + "\n")


def latest(rows: Iterable[Row], key: Sequence[str]) -> dict[tuple[Any, ...], Row]:
    """The last row of each key, in order of first appearance; rows without the whole key are left out."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        if all(name in row for name in key):
            found[tuple(row[name] for name in key)] = row
    return found


def commit() -> str:
    """The short commit that was measured, with `+` when tracked files differ from it; empty outside git."""
    try:
        said = subprocess.run(["git", "describe", "--always", "--dirty=+", "--exclude=*"], cwd=ROOT,
                              capture_output=True, text=True, timeout=20, check=True)  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.strip()


def rate_cell(rate: Rate | Mapping[str, Any] | None) -> str:
    """A rate as `97.3 % [95.7, 98.4] of 600`: per cent, its 95 % Wilson interval, its count."""
    if rate is None:
        return "-"
    values = rate if isinstance(rate, Mapping) else vars(rate)
    if values["rate"] is None:
        return "no images"
    percent, low, high = (100 * values[name] for name in ("rate", "low", "high"))
    return f"{percent:.1f} % [{low:.1f}, {high:.1f}] of {values['total']}"


def cell(value: Any) -> str:
    """A value as a table shows it: `-` for none, yes and no, three decimals, lists with commas."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3f}"
        case list() | tuple():
            return ", ".join(cell(item) for item in value) or "-"
        case _:
            return str(value).replace("|", "/")


def table(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """A Markdown table. Raises ValueError when a line is not as long as the header."""
    shown = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    for line in lines:
        if len(line) != len(header):
            raise ValueError(f"a line of {len(line)} cells under a header of {len(header)}")
        shown.append(f"| {' | '.join(cell(value) for value in line)} |")
    return "\n".join(shown)
