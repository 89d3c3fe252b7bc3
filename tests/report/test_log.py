"""The curves of the event log: what continues a run, what begins one, and which attempt was kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from auditor.report.log import read_curves


def step(number: int, method: str = "sau", **more: Any) -> dict[str, Any]:
    return {"event": "UnlearnStep", "method": method, "step": number, "steps": 9, "clean_accuracy": 0.9,
            "proxy_attack_success_rate": 0.5, **more}  # fmt: skip


def judged(accepted: bool, method: str = "sau") -> dict[str, Any]:
    return {"event": "AttemptFinished", "method": method, "accepted": accepted, "reason": ""}


def written(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n", encoding="utf-8")
    return path


def test_runs_and_attempts_are_told_apart(tmp_path: Path) -> None:
    lines = [step(0), step(1), step(0), step(1), judged(False), step(0, "prune"), judged(True, "prune"), step(0)]
    curves = read_curves(written(tmp_path / "e.jsonl", *lines)).attempts
    assert [(c.method, c.attempt, c.run, len(c.points), c.accepted) for c in curves] == [
        ("sau", 1, 1, 2, False), ("sau", 1, 2, 2, False), ("prune", 2, 1, 1, True), ("sau", 3, 1, 1, None),
    ]  # fmt: skip


def test_what_a_step_says_is_kept(tmp_path: Path) -> None:
    said = step(1, tar=0.3, tar_random=0.02, losses={"clean": 0.5, "bad": None}, heat_maps="evidence/frames/7.npz")
    point = read_curves(written(tmp_path / "e.jsonl", said)).attempts[0].points[0]
    assert (point.tar, point.tar_random, point.heat_maps) == (0.3, 0.02, "evidence/frames/7.npz")
    assert point.losses == {"clean": 0.5, "bad": None}


def test_steps_of_older_runs_are_read(tmp_path: Path) -> None:
    (curve,) = read_curves(written(tmp_path / "e.jsonl", step(1), step(2))).attempts
    assert [p.tar_random for p in curve.points] == [None, None]


def test_hostile_steps_are_left_out(tmp_path: Path) -> None:
    bad = [step(1, losses=[1]), step(1, losses={"a": "b"}), step(1, heat_maps=3), step(1, tar="x"),
           {"event": "AttemptFinished", "accepted": "yes"}]  # fmt: skip
    assert read_curves(written(tmp_path / "e.jsonl", *bad)).attempts == []
    assert read_curves(tmp_path / "none.jsonl").attempts == []
