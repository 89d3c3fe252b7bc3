"""The GPU check: what it compares, and that it needs nothing but the core's own dependencies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from auditor.request import Request
from benchmarks import gpu_check
from benchmarks.gpu_check import Half, differences, show

ROOT = Path(__file__).resolve().parents[2]
NOT_OF_THE_CORE = ("pydantic", "textual", "typer", "rich", "jinja2", "weasyprint")
HALF = Half(device="cpu", verdict="backdoored", target_classes=[3], score=0.97, passed=True, logit_difference=1e-6,
            parity_holds=True, seconds=20.0, images=1000, stages={"detect": 12.0}, exit_code=0)  # fmt: skip

# Audits the planted network with every other package refused, as on a machine that lacks them.
AUDIT = """
import sys, tempfile
from dataclasses import replace
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {forbidden}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import planted
from auditor import pipeline
from auditor.request import Request
from auditor.events import Control, drain
from auditor.images import CleanImages
from auditor.search import budgets
from benchmarks import gpu_check
budgets.PROFILES["quick"] = replace(budgets.PROFILES["quick"], restarts=1, first_steps=0, steps=40, refine_steps=10)
x, y = planted.planted_images(60)
with tempfile.TemporaryDirectory() as folder:
    request = Request(model="planted", output=folder + "/run", profile="quick", threads=1, device="cpu")
    clean = CleanImages.from_arrays(x.numpy(), y.numpy())
    session = pipeline.start(request, Control(), suspect=planted.planted(), clean=clean)
    result = drain(pipeline.run(session, pipeline.audit(session)))
    half = gpu_check._half(result, "cpu", gpu_check._parity(session, session.run.path))
print(half.verdict, half.target_classes, half.passed, half.parity_holds, half.exit_code)
"""


def python(code: str) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_its_imports_load_nothing_beyond_the_core() -> None:
    loaded = python("import benchmarks.gpu_check, sys; print(sorted({m.partition('.')[0] for m in sys.modules}))")
    assert "torch" in loaded and "auditor" in loaded
    assert [name for name in NOT_OF_THE_CORE if f"'{name}'" in loaded] == []


def test_a_whole_audit_runs_where_the_other_packages_are_missing() -> None:
    assert python(AUDIT.replace("{forbidden}", repr(set(NOT_OF_THE_CORE)))).split("\n")[0] == "backdoored [4] True True 0"


def test_halves_that_agree_have_no_differences() -> None:
    assert differences(HALF, replace(HALF, device="cuda", score=0.955, seconds=3.0, logit_difference=2e-4)) == []


@pytest.mark.parametrize(("change", "said"), [
    ({"verdict": "no_evidence"}, "verdict: backdoored on the CPU, no_evidence on CUDA"),
    ({"target_classes": [5]}, "target_classes"), ({"score": 0.94}, "score"), ({"score": None}, "score"),
    ({"passed": False}, "passed"), ({"exit_code": 1}, "exit_code"), ({"parity_holds": False}, "ONNX"),
    ({"error": "out of memory"}, "cuda: out of memory"),
])  # fmt: skip
def test_each_difference_is_said(change: dict[str, object], said: str) -> None:
    found = differences(HALF, replace(HALF, device="cuda", **change))  # type: ignore[arg-type]
    assert len(found) == 1 and said in found[0]


def test_without_cuda_its_column_says_not_measured() -> None:
    shown = show(HALF, None)
    assert "| verdict | backdoored | not measured |" in shown
    assert "| images a second | 50 | not measured |" in shown
    assert "| seconds, detect | 12.0 | 3.0 |" in show(HALF, replace(HALF, device="cuda", stages={"detect": 3.0}))


def test_without_cuda_the_cpu_half_runs_and_the_check_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Request] = []

    def fake(request: Request, *, scan_only: bool) -> Half:
        asked.append(request)
        return HALF

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu_check, "run_half", fake)
    assert gpu_check.main(["--out", str(tmp_path / "gpu.jsonl")]) == 0
    assert [request.device for request in asked] == ["cpu"] and asked[0].output is not None
    out = capsys.readouterr().out
    assert "no CUDA device: the CUDA half is not measured" in out and "backdoored" in out
    row = json.loads((tmp_path / "gpu.jsonl").read_text())
    assert row["cuda"] is None and row["cpu"]["score"] == 0.97 and row["differences"] == []


def test_a_file_that_cannot_be_read_is_one_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_check.main(["--model", str(tmp_path / "none.pt"), "--out", str(tmp_path / "gpu.jsonl")]) == 2
    assert "none.pt" in capsys.readouterr().err
    assert not (tmp_path / "gpu.jsonl").exists()
