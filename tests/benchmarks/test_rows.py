"""Rows of measurements: kept line by line, resumed, and shown as tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from auditor.metrics import wilson
from auditor.plain import to_plain
from benchmarks.rows import append_row, cell, latest, rate_cell, read_rows, table


def test_rows_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.jsonl"
    assert read_rows(path) == []
    for number in range(3):
        append_row(path, {"number": number, "nested": {"list": [1, None]}})
    assert [row["number"] for row in read_rows(path)] == [0, 1, 2]
    assert read_rows(path)[0]["nested"] == {"list": [1, None]}


def test_a_row_cut_short_by_an_interrupt_is_dropped_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_row(path, {"number": 0})
    with path.open("a") as file:
        file.write('{"number": 1, "rest": ')
    assert read_rows(path) == [{"number": 0}]
    append_row(path, {"number": 2})
    assert read_rows(path) == [{"number": 0}, {"number": 2}]


@pytest.mark.parametrize("line", ["{broken", "[1]", "7"])
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"a": 1}}\n{line}\n{{"a": 2}}\n')
    with pytest.raises(ValueError, match="line 2"):
        read_rows(path)


def test_a_row_with_nan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        append_row(tmp_path / "rows.jsonl", {"score": float("nan")})
    assert read_rows(tmp_path / "rows.jsonl") == []


def test_the_last_row_of_a_key_counts() -> None:
    rows = [{"m": "a", "s": 0, "v": 1}, {"m": "b", "s": 0, "v": 2}, {"m": "a", "s": 0, "v": 3}, {"m": "a", "v": 9}]
    found = latest(rows, ("m", "s"))
    assert list(found) == [("a", 0), ("b", 0)]
    assert [row["v"] for row in found.values()] == [3, 2]


def test_a_rate_shows_its_wilson_interval_and_count() -> None:
    # Wilson, 8 of 10: centre (0.8 + 0.19207) / 1.38415 = 0.71674, half-width 0.22672
    assert rate_cell(wilson(8, 10)) == "80.0 % [49.0, 94.3] of 10"
    assert rate_cell(to_plain(wilson(8, 10))) == rate_cell(wilson(8, 10))
    assert rate_cell(wilson(0, 535)) == "0.0 % [0.0, 0.7] of 535"
    assert rate_cell(wilson(0, 0)) == "no images"
    assert rate_cell(None) == "-"


@pytest.mark.parametrize(("value", "shown"), [(None, "-"), (True, "yes"), (False, "no"), (0.12345, "0.123"), (7, "7"),
                                              ([3, 5], "3, 5"), ([], "-"), ("a|b", "a/b")])  # fmt: skip
def test_cells(value: object, shown: str) -> None:
    assert cell(value) == shown


def test_a_table_has_as_many_cells_as_its_header() -> None:
    assert table(("a", "b"), [(1, None)]) == "| a | b |\n|---|---|\n| 1 | - |"
    with pytest.raises(ValueError, match="1 cells under a header of 2"):
        table(("a", "b"), [(1,)])
