"""`verify --against RUN` and `export`, end to end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import planted
import pytest
import torch
from material import Files, auditor

from auditor.cli.main import main


@pytest.fixture(scope="module")
def run(quick: None, files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished audit of the planted network."""
    folder = tmp_path_factory.mktemp("audited") / "run"
    assert main(["audit", str(files.suspect), *files.flags, "-o", str(folder), "-q"]) == 0
    yield folder


def against(run: Path, model: Path, files: Files) -> list[object]:
    return ["verify", model, *files.network, "--profile", "quick", "--against", run, "--format", "json"]


def test_a_sanitized_model_is_verified_afresh(run: Path, files: Files) -> None:
    outcome = auditor(*against(run, run / "sanitized.safetensors", files))

    assert outcome.code == 0, outcome.err
    verification = outcome.result["verification"]
    assert verification["passed"] is True
    assert verification["attack_success_rate"]["before"]["rate"] >= 0.8
    assert verification["attack_success_rate"]["after"]["rate"] <= 0.1


def test_the_suspect_itself_does_not_verify(run: Path, files: Files) -> None:
    outcome = auditor(*against(run, files.suspect, files))

    assert outcome.code == 1
    assert outcome.result["verification"]["passed"] is False


def test_models_that_cannot_be_verified(run: Path, files: Files, tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no model", encoding="utf-8")
    for model, code, words in ((tmp_path / "none.pt", 2, "no file"), (tmp_path / "text.pt", 4, "not known")):
        outcome = auditor(*against(run, model, files))
        assert outcome.code == code
        assert words in outcome.result["errors"][0]["what"]


def changed_run(run: Path, tmp_path: Path, change: object) -> Path:
    """A copy of the run whose result.json `change` has edited."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    result = json.loads((copy / "result.json").read_text(encoding="utf-8"))
    change(result)  # type: ignore[operator]
    (copy / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return copy


HOSTILE = {
    "trigger outside": (lambda r: r["triggers"][0].update(evidence="../other.npz"), "inside the run folder"),
    "number for text": (lambda r: r["artifact"].update(path=7), "not an audit result"),
    "no triggers": (lambda r: r.update(triggers=[]), "no trigger"),
    "no shape": (lambda r: r["architecture"].update(input_shape=[]), "what images its model takes"),
    "another suspect": (lambda r: r["artifact"].update(sha256="0" * 64), "not the file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_runs(name: str, run: Path, files: Files, tmp_path: Path) -> None:
    change, words = HOSTILE[name]

    outcome = auditor(*against(changed_run(run, tmp_path, change), files.suspect, files))

    assert outcome.code == 2
    assert words in outcome.err
    assert "Traceback" not in outcome.err
    assert "Internal error" not in outcome.err


def test_a_folder_that_is_no_run(files: Files, tmp_path: Path) -> None:
    assert auditor(*against(tmp_path, files.suspect, files)).code == 2


def test_a_run_with_a_factory_asks_for_it(run: Path, files: Files) -> None:
    outcome = auditor("verify", files.suspect, "--against", run)

    assert outcome.code == 2
    assert "--factory" in outcome.err


@pytest.mark.parametrize("embedded", [False, True])
def test_export(embedded: bool, files: Files, tmp_path: Path) -> None:
    # Given the twin exported with its own normalisation
    flags = [*files.network[:-4], "--mean", "0.5", "--std", "0.25", *(["--embed-preprocessing"] if embedded else [])]
    path = tmp_path / "model.onnx"

    outcome = auditor("export", files.honest, *flags, "-o", path, "--format", "json")

    # Then it answers as the network does, on normalised images or on those in [0, 1]
    assert outcome.code == 0, outcome.err
    assert outcome.result["exports"][0]["path"] == str(path)
    images, _ = planted.planted_images(7)
    normalised = (images - 0.5) / 0.25
    with torch.no_grad():
        wanted = planted.planted(0.0).module(normalised)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: (images if embedded else normalised).numpy()})
    np.testing.assert_allclose(logits, wanted.numpy(), atol=1e-3)
    metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert (metadata["auditor.audited"], metadata["auditor.verified"]) == ("false", "false")

    # And it is not overwritten unasked
    before = path.read_bytes()
    again = auditor("export", files.honest, *flags, "-o", path)
    assert again.code == 2
    assert "--force" in again.err
    assert path.read_bytes() == before


def test_export_that_cannot_be_written(files: Files, tmp_path: Path) -> None:
    outcome = auditor("export", files.honest, *files.network, "-o", tmp_path / "none" / "model.onnx", "--format", "json")

    assert outcome.code == 2
    assert outcome.result["errors"][0]["kind"] == "output"
    assert list(tmp_path.iterdir()) == []
