"""The pooled correlation of TAR, by hand and against numpy, and what the tables say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import tar
from benchmarks.rows import append_row


def row(model: str, synthesized: list[float], true: list[float], **fields: Any) -> dict[str, Any]:
    same = {"own": true, "after": [0.1] * len(true), "random": [0.2] * len(true), "random_after": [0.2] * len(true)}
    return {"model": model, "base": model, "images": 100, "seed": 0, "synthesized": synthesized, "true": true} | same | fields


def test_the_correlation_pools_images_and_weighs_models() -> None:
    rows = [row("a", [0.1, 0.4, 0.3], [0.2, 0.5, 0.1]), row("b", [0.9, float("nan")], [0.7, 0.3])]
    x, y = [0.1, 0.4, 0.3, 0.9], [0.2, 0.5, 0.1, 0.7]  # an image without heat counts in neither

    once, twice = tar.correlation(rows, "synthesized", "true")(np.array([[1.0, 1.0], [1.0, 2.0]]))

    assert once == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert twice == pytest.approx(np.corrcoef([*x, 0.9], [*y, 0.7])[0, 1])


def test_values_that_do_not_vary_have_no_correlation() -> None:
    rows = [row("a", [0.5, 0.5], [0.1, 0.9])]
    assert np.isnan(tar.correlation(rows, "synthesized", "true")(np.ones((1, 1)))[0])


def test_the_summary_tells_the_fall_beside_its_control(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tar.jsonl"
    for found in (row("a", [0.5, 0.7], [0.4, 0.8]), row("b", [0.6, 0.2], [0.6, 0.3]), {"model": "c", "base": "c", "images": 100, "seed": 0}):
        append_row(out, found)

    assert tar.main(["--show", "--out", str(out)]) == 0

    shown = capsys.readouterr().out
    assert "2 models" in shown and "| c |" not in shown
    assert "Change of TAR with refit: -0.400" in shown
    assert "Change of its random-mask control with refit: 0.000" in shown
