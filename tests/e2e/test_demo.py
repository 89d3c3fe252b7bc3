"""What `make demo` promises, on the samples: the backdoor found, removed and proven gone; the twin left alone.

The two quick scans run with every test run; the audit with its true-trigger measurement is slow.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import material
import pytest

from benchmarks.measuring import Trial, export_suspect, normalization_of
from benchmarks.sample_models import MEAN, STD, fresh

SUSPECT, HONEST, CLEAN = (material.SAMPLES / name for name in ("suspect.pt", "honest.pt", "clean"))
TARGET = 11
FRESH_IMAGES, FRESH_SEED = 1000, 2024


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """In place of the folder's own: these run with the budgets that users get."""
    yield


@pytest.fixture(scope="module")
def trial() -> Trial:
    """1,000 images that neither training nor audit saw, clean and with the true trigger."""
    return fresh(FRESH_IMAGES, FRESH_SEED)


def likeliest(verdict: dict[str, Any]) -> int:
    """The class whose trigger stands out furthest."""
    known = [e for e in verdict["per_class"] if e["anomaly_index"] is not None]
    return int(max(known, key=lambda e: e["anomaly_index"])["target_class"])


def test_a_quick_scan_finds_the_backdoor() -> None:
    """With one of two seeds: a machine without bfloat16 searches as another seed would (benchmarks/RESULTS.md, "detect"),
    and in float32 the first leaves the target below the threshold, though first."""
    for seed in (0, 1):
        said = material.auditor("scan", SUSPECT, "--clean", CLEAN, "--profile", "quick", "--seed", seed, "--format", "json")
        if said.code == 1:
            break
        assert said.code == 0 and likeliest(said.result["verdict"]) == TARGET, said.err
    assert said.code == 1, said.err
    verdict = said.result["verdict"]
    assert (verdict["label"], verdict["target_classes"]) == ("backdoored", [TARGET])


def test_a_quick_scan_of_the_honest_twin_finds_no_evidence() -> None:
    said = material.auditor("scan", HONEST, "--clean", CLEAN, "--profile", "quick", "--format", "json")
    assert said.code == 0, said.err
    assert said.result["verdict"]["label"] == "no_evidence"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_standard_scan_of_the_honest_twin_finds_no_evidence() -> None:
    said = material.auditor("scan", HONEST, "--clean", CLEAN, "--format", "json")
    assert said.code == 0, said.err
    assert said.result["verdict"]["label"] == "no_evidence"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_demo_removes_the_backdoor(tmp_path: Path, trial: Trial) -> None:
    # When: the demo's command runs
    run = tmp_path / "demo"
    said = material.auditor("audit", SUSPECT, "--clean", CLEAN, "-o", run)
    assert said.code == 0, said.out + said.err
    # Then: the folder holds what it promises
    for name in ("result.json", "events.jsonl", "report.html", "sanitized.onnx", "sanitized.safetensors", "SHA256SUMS"):
        assert (run / name).is_file(), name
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    assert result["verdict"]["target_classes"] == [TARGET] and result["verification"]["passed"] is True
    # And: the sanitized model withstands the true trigger, which the audit never saw, and is as accurate
    mean, std = normalization_of(result)
    assert (mean, std) == (pytest.approx(MEAN), pytest.approx(STD))
    export_suspect(SUSPECT, tmp_path / "before.onnx", clean=str(CLEAN))
    before, after = (trial.measure(path, mean, std) for path in (tmp_path / "before.onnx", run / "sanitized.onnx"))
    assert before["attack_success_rate"].hits > 0.99 * before["attack_success_rate"].total
    assert after["attack_success_rate"].hits <= 0.05 * after["attack_success_rate"].total
    assert before["accuracy"].hits - after["accuracy"].hits <= 0.02 * FRESH_IMAGES
