"""Run folders to test with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from auditor.domain import SCHEMA_VERSION, AuditResult, Run, Tool
from auditor.events import SearchStep
from auditor.runs import RunFolder

PRINT = {"checkpoint": "aa", "images": "bb", "configuration": "cc"}
ROOT = Path(__file__).resolve().parents[1]


def result(reproduce: str = "") -> AuditResult:
    tool = Tool(name="auditor", version="0", python="3", torch="2", platform="x")
    run = Run(argv=["a\udc80"], seed=0, device="cpu", dtype="float32", threads=1, profile="quick", started="now")
    return AuditResult(schema_version=SCHEMA_VERSION, tool=tool, run=run, reproduce=reproduce)


def step(picture: Any) -> SearchStep:
    return SearchStep(family="patch", step=1, steps=2, classes=[0], loss=[float("nan")], attack_success_rate=[0.5],
                      cost=[None], picture=picture, picture_class=0)  # fmt: skip


def tree(path: Path) -> list[str]:
    return sorted(entry.relative_to(path).as_posix() for entry in path.rglob("*"))


def spawn(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A Python process with `auditor` importable, whose stdout and stdin are pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def fill(path: Path) -> None:
    with RunFolder.open(path, fingerprint=PRINT) as run:
        run.finish_stage("detect", {"a": 1})
        run.record(step(np.zeros((2, 2, 3), dtype=np.float32)))
        run.save_arrays("evidence/trigger_0.npz", a=[1])
        for name in ("report.html", "report.pdf", "sanitized.onnx", "sanitized.safetensors"):
            run.write_text(name, "old")
        run.write_result(result())
        run.seal()
