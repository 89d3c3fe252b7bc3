"""What the real command leaves in a run folder, and what the other verbs make of it."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import material
import numpy as np
import onnx
import onnxruntime
import planted
import pypdf
import pytest
import torch
from material import Files, Outcome, auditor
from portfolios import try_only
from safetensors.torch import load_file

import auditor.report as auditor_report
from auditor.events import decode
from auditor.report import pdf
from auditor.runs import verify_seal
from auditor.suspect import Suspect
from auditor.triggers import Trigger


@dataclass(frozen=True)
class Audited:
    """A finished audit of the planted network, with a real PDF."""

    folder: Path
    outcome: Outcome
    text: str

    @property
    def result(self) -> dict[str, Any]:
        return self.outcome.result


@pytest.fixture(scope="module")
def audited(quick: None, files: Files, tmp_path_factory: pytest.TempPathFactory) -> Audited:
    folder = tmp_path_factory.mktemp("audited")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auditor_report, "to_pdf", pdf.to_pdf)
        outcome = auditor("audit", files.suspect, *files.flags, "-o", folder / "run", "--format", "json", "--format",
                          f"text={folder / 'summary.txt'}")  # fmt: skip
    return Audited(folder / "run", outcome, (folder / "summary.txt").read_text(encoding="utf-8"))


def test_the_command_that_reproduces_a_run_is_the_one_that_was_given(audited: Audited) -> None:
    given = shlex.split(audited.result["reproduce"])
    assert given[:2] == ["auditor", "audit"] and given.count("auditor") == 1
    assert given == audited.result["run"]["argv"]


def test_the_console_script(files: Files) -> None:
    script = Path(sys.executable).with_name("auditor")
    command = [str(script)] if script.exists() else [sys.executable, "-m", "auditor"]
    environment = {**os.environ, "PYTHONPATH": str(Path(planted.__file__).parent)}

    done = subprocess.run([*command, "scan", str(files.suspect), *files.flags, "--format", "json"], capture_output=True,
                          text=True, env=environment, timeout=300, check=False)  # fmt: skip

    assert done.returncode == json.loads(done.stdout)["run"]["exit_code"] == 1, done.stderr
    assert json.loads(done.stdout)["verdict"]["target_classes"] == [planted.TARGET]
    assert "Searching for triggers" in done.stderr
    assert "\x1b" not in done.stderr + done.stdout


def test_with_the_real_methods_files_and_exit_code_agree(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try_only(monkeypatch, "prune", "edit")

    outcome = auditor("audit", files.suspect, *files.flags, "-o", tmp_path / "run", "--format", "json")

    passed = outcome.result["verification"] is not None and outcome.result["verification"]["passed"]
    names = material.tree(tmp_path / "run")
    assert outcome.code == (0 if passed else 1)
    assert passed == ("sanitized.onnx" in names) == ("sanitized.safetensors" in names)
    assert outcome.result["unlearning"]["tried"]
    assert [attempt["accepted"] for attempt in outcome.result["unlearning"]["tried"]].count(True) == passed
    assert verify_seal(tmp_path / "run") == []


@pytest.fixture
def copy(audited: Audited, tmp_path: Path) -> Path:
    """The run folder, to change."""
    shutil.copytree(audited.folder, tmp_path / "run")
    return tmp_path / "run"


def test_streams(audited: Audited) -> None:
    assert audited.outcome.code == 0, audited.outcome.err
    assert audited.result["verification"]["passed"] is True
    assert audited.result["verdict"]["target_classes"] == [planted.TARGET]
    assert "Searching for triggers" in audited.outcome.err
    assert "\x1b" not in audited.outcome.err + audited.outcome.out + audited.text
    assert "Backdoor found toward class 4" in audited.text


def test_the_object_printed_is_the_one_stored_and_fits_the_schema(audited: Audited) -> None:
    stored = json.loads((audited.folder / "result.json").read_text(encoding="utf-8"))
    schema = json.loads(auditor("schema").out)

    assert audited.result == stored
    jsonschema.Draft202012Validator(schema).validate(stored)
    assert stored["errors"] == []
    assert stored["cost"]["forward_images"] > 0
    assert set(stored["run"]["seconds"]) == {"open", "preflight", "detect", "attend", "unlearn", "export"}
    for named in [*stored["triggers"], {"evidence": stored["attention"]["panels"]}]:
        assert (audited.folder / named["evidence"]).is_file()


def test_the_schema_rejects_another_shape(audited: Audited) -> None:
    schema = json.loads(auditor("schema").out)
    changed = {**audited.result, "verdict": {**audited.result["verdict"], "label": "safe"}}

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(changed)


def test_files(audited: Audited) -> None:
    names = set(material.tree(audited.folder))

    assert {"result.json", "events.jsonl", "report.html", "report.pdf", "SHA256SUMS", "sanitized.onnx",
            "sanitized.safetensors", "evidence/trigger_0.npz", "evidence/attention.npz"} <= names  # fmt: skip
    assert len(pypdf.PdfReader(audited.folder / "report.pdf").pages) >= 1
    assert audited.result["artifact"]["sha256"] in (audited.folder / "report.html").read_text(encoding="utf-8")


def test_no_pickle(audited: Audited) -> None:
    for name in material.tree(audited.folder):
        path = audited.folder / name
        assert path.suffix in {"", ".json", ".jsonl", ".npz", ".html", ".pdf", ".onnx", ".safetensors"} or name == ".lock"
        assert path.read_bytes()[:1] != b"\x80", name
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                assert all(not arrays[key].dtype.hasobject for key in arrays.files), name


def test_checksums(audited: Audited, copy: Path) -> None:
    lines = (copy / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    listed = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}

    assert listed == {name: hashlib.sha256((copy / name).read_bytes()).hexdigest() for name in listed}
    assert set(material.tree(copy)) - set(listed) <= {"SHA256SUMS", "state.json", ".lock"}
    assert verify_seal(copy) == []
    (copy / "result.json").write_text("{}", encoding="utf-8")
    assert verify_seal(copy) == ["result.json was changed."]


def test_events_are_numbered_and_decode(audited: Audited) -> None:
    lines = (audited.folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [decode(line) for line in lines]

    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert all(before.at_s <= after.at_s for before, after in itertools.pairwise(events))
    kinds = [type(event).__name__ for event in events]
    assert (kinds[0], kinds[-1]) == ("StageStarted", "AuditFinished")
    assert {"ModelOpened", "SearchStep", "VerdictReached", "UnlearnStep", "FileWritten"} <= set(kinds)
    pictures = [picture for event in events if (picture := getattr(event, "picture", None)) is not None]
    assert pictures
    assert all((audited.folder / str(picture)).is_file() for picture in pictures)


def test_the_sanitized_files_are_one_model(audited: Audited, files: Files) -> None:
    images, labels = planted.planted_images(30, seed=9)
    state = load_file(audited.folder / "sanitized.safetensors")
    assert set(state) == set(torch.load(files.suspect))
    module = planted.PlantedNet(0.0)
    module.load_state_dict(state)
    sanitized = Suspect(module, num_classes=planted.CLASSES, input_shape=(3, planted.SIDE, planted.SIDE))
    assert (sanitized.predict(planted.corner_trigger().stamp(images)) == labels.numpy()).all()

    session = onnxruntime.InferenceSession(audited.folder / "sanitized.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    np.testing.assert_allclose(logits, sanitized.logits(images).numpy(), atol=1e-3)
    metadata = {entry.key: entry.value for entry in onnx.load(audited.folder / "sanitized.onnx").metadata_props}
    assert metadata["auditor.audited"] == metadata["auditor.verified"] == "true"
    assert metadata["auditor.suspect_sha256"] == audited.result["artifact"]["sha256"]
    for export in audited.result["exports"]:
        assert hashlib.sha256((audited.folder / export["path"]).read_bytes()).hexdigest() == export["sha256"]


def test_report_is_rendered_again_and_sealed(copy: Path) -> None:
    (copy / "report.html").unlink()

    outcome = auditor("report", copy)

    assert outcome.code == 0, outcome.err
    assert (copy / "report.html").is_file()
    assert verify_seal(copy) == []
    assert auditor("report", copy / "nothing").code == 2


def test_sanitize_takes_a_trigger_of_the_run(audited: Audited, files: Files, tmp_path: Path) -> None:
    trigger = audited.folder / "evidence" / "trigger_0.npz"
    assert Trigger.load(trigger).target_class == planted.TARGET

    outcome = auditor("sanitize", files.suspect, *files.flags, "--trigger", trigger, "-o", tmp_path / "run",
                      "--format", "json")  # fmt: skip

    assert outcome.code == 0, outcome.err
    assert outcome.result["verdict"] is None
    assert outcome.result["triggers"][0]["attack_success_rate"]["rate"] >= 0.8
    assert outcome.result["verification"]["passed"] is True
    assert (tmp_path / "run" / "sanitized.onnx").is_file()
    assert verify_seal(tmp_path / "run") == []


def test_sanitize_refuses_a_trigger_it_cannot_use(files: Files, tmp_path: Path) -> None:
    small = np.zeros((8, 8), np.float32)
    Trigger(family="patch", target_class=4, parameters={"mask": small, "pattern": np.stack([small] * 3)}).save(
        tmp_path / "small.npz"
    )
    for name, words in (("missing.npz", "missing.npz"), ("small.npz", "(8, 8)")):
        outcome = auditor("sanitize", files.suspect, *files.flags, "--trigger", tmp_path / name, "-o",
                          tmp_path / f"run-{name}", "--format", "json")  # fmt: skip
        assert outcome.code == 2
        assert words in outcome.result["errors"][0]["what"]
    assert not (tmp_path / "run-missing.npz").exists()
