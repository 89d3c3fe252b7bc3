"""The benchmark over the shared zoo, with the runs themselves replaced: what it measures, keeps and repeats."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import planted
import pytest

from auditor.exporting import export_onnx
from benchmarks import shared_zoo
from benchmarks.measuring import Trial
from benchmarks.rows import read_rows

MODELS = [{"name": "bad", "path": Path("bad.pt"), "target": planted.TARGET},
          {"name": "good", "path": Path("good.pt"), "target": None}]  # fmt: skip


def told(**changes: Any) -> dict[str, Any]:
    """What a run of its own prints, cut to what rows hold."""
    result = {
        "verdict": {"label": "backdoored", "target_classes": [planted.TARGET], "score": 0.9, "per_class": []},
        "cost": {"forward_images": 10, "backward_images": 4}, "errors": [], "tool": {"torch": "2"},
        "run": {"seconds": {}, "exit_code": 0, "threads": 1, "device": "cpu"},
        "architecture": {"normalization": {"mean": [0.0], "std": [1.0]}},
        "verification": {"passed": True}, "unlearning": {"method": "edit"},
    }  # fmt: skip
    return {"result": result | changes, "seconds": 2.0, "libraries_bytes": 100, "peak_bytes": 200}


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A zoo of two models whose images and runs take no time; `calls` lists the runs."""
    calls: list[tuple[str, str]] = []
    fake = SimpleNamespace(models=lambda: [dict(m) for m in MODELS], MEAN=(0.5,), STD=(0.5,), calls=calls)

    def run_once(verb: str, model: Path, clean: Path, **flags: Any) -> dict[str, Any]:
        calls.append((verb, model.stem))
        return told()

    monkeypatch.setattr(shared_zoo, "shared_zoo", lambda: fake)
    monkeypatch.setattr(shared_zoo, "clean_images", lambda path, count, seed: path)
    monkeypatch.setattr(shared_zoo, "run_once", run_once)
    return fake


def test_what_is_done_is_not_measured_again(
    zoo: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "rows.jsonl"), "--profile", "quick"]
    # Given: one of the two scanned
    assert shared_zoo.main(["--only", "bad", *out]) == 0
    # When: all are asked for, then again, then with another seed, then --show
    for more in ([], [], ["--seeds", "0,1"], ["--show"]):
        assert shared_zoo.main([*more, *out]) == 0
    # Then: each model ran once a seed, and --again repeats
    assert zoo.calls == [("scan", "bad"), ("scan", "good"), ("scan", "bad"), ("scan", "good")]
    assert shared_zoo.main(["--only", "good", "--again", *out]) == 0
    assert zoo.calls[4:] == [("scan", "good")]
    rows = read_rows(tmp_path / "rows.jsonl")
    assert [(r["model"], r["seed"], r["right"]) for r in rows] == [
        ("bad", 0, True), ("good", 0, False), ("bad", 1, True), ("good", 1, False), ("good", 0, False)]  # fmt: skip
    assert capsys.readouterr().out.count("| good | 50 | 0 |") == 5  # once in each table after it was measured


def test_an_audit_measures_the_exported_models(
    zoo: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given: an audit that leaves the honest twin as its sanitized model
    images, labels = planted.planted_images(30)
    stamped = planted.corner_trigger().stamp(images)
    trial = Trial(clean=images.numpy(), triggered=stamped.numpy(), labels=labels.numpy(), target=planted.TARGET)
    twin = tmp_path / "twin.onnx"
    export_onnx(planted.planted(0.0), twin, metadata={})

    def run_once(verb: str, model: Path, clean: Path, *, output: str, **flags: Any) -> dict[str, Any]:
        Path(output).mkdir(parents=True)
        shutil.copy(twin, Path(output) / "sanitized.onnx")
        return told()

    monkeypatch.setattr(shared_zoo, "run_once", run_once)
    monkeypatch.setattr(shared_zoo, "held_out", lambda zoo, model: trial)
    monkeypatch.setattr(shared_zoo, "export_suspect",
                        lambda model, out, **flags: export_onnx(planted.planted(), out, metadata={}))  # fmt: skip
    # When
    row = shared_zoo.audit(MODELS[0], tmp_path / "c.npz", tmp_path / "audits", zoo=zoo, threads=1, images=30, seed=0,
                           profile="quick")  # fmt: skip
    # Then: the true trigger works before and not after, on the 25 images of other classes
    asr = {when: row[when]["attack_success_rate"] for when in ("before", "after", "after_as_trained")}
    assert (asr["before"]["hits"], asr["after"]["hits"], asr["after"]["total"]) == (25, 0, 25)
    assert row["after"]["accuracy"]["rate"] == 1.0 and asr["after_as_trained"]["total"] == 25
    assert row["passed"] is True and row["method"] == "edit"


def test_an_audit_that_left_no_model_has_no_rates(zoo: SimpleNamespace, tmp_path: Path) -> None:
    row = shared_zoo.audit(MODELS[0], tmp_path / "c.npz", tmp_path / "audits", zoo=zoo, threads=1, images=30, seed=0,
                           profile="quick")  # fmt: skip
    assert row["before"] is row["after"] is row["after_as_trained"] is None


def test_a_rejected_candidate_is_measured_as_such(
    zoo: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_once(verb: str, model: Path, clean: Path, *, output: str, **flags: Any) -> dict[str, Any]:
        (Path(output) / "evidence").mkdir(parents=True)
        (Path(output) / "evidence" / "candidate_sanitized.onnx").touch()
        return told(verification={"passed": False})

    measured: list[str] = []

    class Noted:
        def measure(self, path: Path, *rest: Any) -> dict[str, Any]:
            measured.append(path.name)
            return {}

    monkeypatch.setattr(shared_zoo, "run_once", run_once)
    monkeypatch.setattr(shared_zoo, "held_out", lambda zoo, model: Noted())
    monkeypatch.setattr(shared_zoo, "export_suspect", lambda model, out, **flags: None)
    row = shared_zoo.audit(MODELS[0], tmp_path / "c.npz", tmp_path / "audits", zoo=zoo, threads=1, images=30, seed=0,
                           profile="quick")  # fmt: skip
    assert row["passed"] is False
    assert measured == ["bad_before.onnx", "candidate_sanitized.onnx", "candidate_sanitized.onnx"]
