"""The table of shortlist recall, from rows by hand."""

from __future__ import annotations

from benchmarks import shortlist

ROW = {"images": 100, "seed": 0, "split": "held_out", "base": "a", "attack": "badnets", "classes": 40, "listed": 10, "commit": "x"}


def test_recall_counts_each_order_apart() -> None:
    rows = [ROW | {"model": "first", "target": 3, "both": True, "shared": False, "rows": True},
            ROW | {"model": "second", "target": 4, "both": False, "shared": False, "rows": True}]  # fmt: skip
    shown = shortlist.show(rows)
    cells = [cell.strip() for cell in shown.splitlines()[2].strip("|").split("|")]
    assert cells[2:4] == ["2", "10"]
    assert [cell.split(" ")[0] for cell in cells[4:7]] == ["50.0", "0.0", "100.0"]
    assert cells[7] == "25%"  # 10 of 40
    assert cells[8] == "83%"  # half listed, and 20 of the other 30 drawn: 0.5 + 0.5 * 2 / 3
    assert "Not on the shortlist: second (100 images)." in shown


def test_one_that_is_listed_is_not_named() -> None:
    assert "Not on" not in shortlist.show([ROW | {"model": "first", "target": 3, "both": True, "shared": True, "rows": True}])
