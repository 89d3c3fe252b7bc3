"""What the real command leaves in a run folder, and what the other verbs make of it."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
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
from safetensors.torch import load_file

from auditor.events import decode
from auditor.runs import verify_seal
from auditor.suspect import Suspect
from auditor.triggers import Trigger


@dataclass(frozen=True)
class Audited:
    """A finished audit of the planted network by the console script."""

    folder: Path
    outcome: Outcome
    text: str

    @property
    def result(self) -> dict[str, Any]:
        return self.outcome.result


@pytest.fixture(scope="module")
def audited(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Audited:
    folder = tmp_path_factory.mktemp("audited")
    script = Path(sys.executable).with_name("auditor")
    command = [str(script)] if script.exists() else [sys.executable, "-m", "auditor"]
    command += ["audit", str(files.suspect), *files.flags, "-o", str(folder / "run"), "--format", "json",
                "--format", f"text={folder / 'summary.txt'}"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(Path(planted.__file__).parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    return Audited(folder / "run", Outcome(done.returncode, done.stdout, done.stderr),
                   (folder / "summary.txt").read_text(encoding="utf-8"))  # fmt: skip


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


def test_the_sanitized_model_withstands_the_true_trigger(audited: Audited, files: Files) -> None:
    """The one thing that no part of the audit could look at."""
    images, labels = planted.planted_images(300, seed=9)
    stamped = planted.corner_trigger().stamp(images)
    state = load_file(audited.folder / "sanitized.safetensors")
    assert set(state) == set(torch.load(files.suspect))
    module = planted.PlantedNet(0.0)
    module.load_state_dict(state)
    sanitized = Suspect(module, num_classes=planted.CLASSES, input_shape=(3, planted.SIDE, planted.SIDE))
    others = labels.numpy() != planted.TARGET

    assert (planted.planted().predict(stamped) == planted.TARGET).all()
    assert (sanitized.predict(stamped)[others] == planted.TARGET).mean() <= 0.1
    assert (sanitized.predict(images) == labels.numpy()).mean() >= 0.97

    session = onnxruntime.InferenceSession(audited.folder / "sanitized.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    np.testing.assert_allclose(logits, sanitized.logits(images).numpy(), atol=1e-3)
    metadata = {entry.key: entry.value for entry in onnx.load(audited.folder / "sanitized.onnx").metadata_props}
    assert metadata["auditor.audited"] == metadata["auditor.verified"] == "true"
    assert metadata["auditor.suspect_sha256"] == audited.result["artifact"]["sha256"]


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
