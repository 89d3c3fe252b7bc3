"""The table of what removal costs honest models."""

from __future__ import annotations

from typing import Any

from benchmarks.honest import summary


def row(model: str, before: float, after: float, shipped: float | None = None, passed: bool = True) -> dict[str, Any]:
    rates = {"before": before, "after": after, "shipped": before if shipped is None else shipped}
    return {"model": model, "base": model, "images": 100, "seed": 0, "verdict": "no_evidence", "target": 3, "flips": [60, 63],
            "passed": passed, "kept": "refit", "commit": "0", **{name: {"rate": rate} for name, rate in rates.items()}}  # fmt: skip


def test_what_is_handed_out_and_what_was_refused_are_told_apart() -> None:
    said = summary([row("a", 0.80, 0.78), row("b", 0.70, 0.64, shipped=0.69, passed=False), row("c", 0.60, 0.60)])
    assert "As shipped: 0.33 points lost" in said and "handed out: 0.67 points lost" in said
    assert "refused ones too: 2.67 points lost" in said and "60 of 63" in said


def test_nothing_measured_is_no_figure() -> None:
    assert "nothing measured" in summary([])
