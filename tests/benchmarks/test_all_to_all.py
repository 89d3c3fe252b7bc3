"""The table of `benchmarks.all_to_all`."""

from __future__ import annotations

from typing import Any

from benchmarks.all_to_all import show


def row(kind: str | None, ratio: float | None, flips: list[int] | None = None) -> dict[str, Any]:
    return {"model": "m", "split": "held_out", "images": 50, "kind": kind, "ratio": ratio, "flips": flips, "confirmed": flips == [9, 10],
            "forward_images": 3000, "seconds": 2.0}  # fmt: skip


def test_models_of_all_to_all_are_set_beside_the_others() -> None:
    rows = [row("all_to_all", 0.04, [9, 10]), row("all_to_all", None), row(None, 0.5), row("all_to_one", 0.2, [1, 10])]
    cells = [cell.strip() for cell in show(rows).splitlines()[-1].strip("|").split("|")]
    assert cells == ["held_out", "50", "m 0.04, m none works", "1 of 2", "2", "0.20", "1", "3000", "2 to 2"]
