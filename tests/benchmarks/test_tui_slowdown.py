"""The slowdown of a search beside the interface, from turns whose answer is known."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tui_slowdown import compared, interval, slowdown, spans


def test_a_step_that_takes_a_tenth_longer_beside_the_interface_is_told_though_the_machine_drifts() -> None:
    turns = [(4.0 * i, 4.0 * i + 4.0, i % 2 == 0) for i in range(40)]
    drift = lambda at: 1.0 + 0.4 * np.sin(at / 60)  # noqa: E731
    steps = [("patch" if at < 80 else "warp", at, (0.1 if at < 80 else 0.3) * drift(at) * (1.1 if int(at // 4) % 2 == 0 else 1.0))
             for at in np.arange(0.25, 160, 0.5)]  # fmt: skip
    pairs = compared(steps, turns)
    assert len(pairs) == 38 or len(pairs) == 39
    assert slowdown(pairs) == pytest.approx(0.1, abs=0.01)
    low, high = interval(pairs)
    assert low <= slowdown(pairs) <= high and high - low < 0.05


def test_spans_are_placed_by_when_their_frames_were_written(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    events = [{"event": "StageStarted", "at_s": 0.0}]
    for step, at in ((5, 1.0), (10, 2.0), (15, 4.0)):
        name = f"frames/{step}.npz"
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (1000.0 + at, 1000.0 + at))
        events.append({"event": "SearchStep", "family": "patch", "classes": [0, 1], "step": step, "at_s": at, "picture": name})
    events.append({"event": "SearchStep", "family": "patch", "classes": [1], "step": 20, "at_s": 5.0})
    (tmp_path / "events.jsonl").write_text("\n".join(json.dumps(event) for event in events))
    assert spans(tmp_path) == [("patch 2", 1001.5, 0.2), ("patch 2", 1003.0, 0.4)]
