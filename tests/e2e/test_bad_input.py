"""Bad input through the command line: one clear error, the right exit code, nothing half-written."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import hostile_files as hostile
import material
import numpy as np
import planted
import pytest
import torch
from material import Files, Outcome, auditor
from PIL import Image

from auditor.runs import verify_seal

# ---------------------------------------------------------------------------- checkpoints


def truncated(files: Files) -> bytes:
    whole = files.suspect.read_bytes()
    return whole[: len(whole) // 2]


def tar(files: Files) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.add(files.suspect, "suspect.pt")
    return stream.getvalue()


def unknown_network(_: Files) -> bytes:
    return hostile.saved({"body.weight": torch.rand(3, 4), "body.bias": torch.rand(3)})


BROKEN: dict[str, tuple[Callable[[Files], bytes], int, str]] = {
    "empty": (lambda _: b"", 4, "empty"),
    "random bytes": (lambda _: np.random.default_rng(0).bytes(4096), 4, "not known"),
    "text": (lambda _: b"weights: see the attachment\n" * 40, 4, "not known"),
    "truncated zip": (truncated, 4, "truncated"),
    "tar": (tar, 4, "tar archive"),
    "unknown network": (unknown_network, 3, "No known architecture"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_file_that_is_no_known_checkpoint(name: str, files: Files, tmp_path: Path) -> None:
    content, code, words = BROKEN[name]
    model = tmp_path / "model.pt"
    model.write_bytes(content(files))

    both = in_both_formats([model, "--clean", files.clean, "--device", "cpu"], tmp_path)

    check_error(both, code, words)
    check_folder(tmp_path / "run")


def test_missing_file(files: Files, tmp_path: Path) -> None:
    both = in_both_formats([tmp_path / "no.pt", *files.flags], tmp_path)

    check_error(both, 2, "There is no file")
    assert not (tmp_path / "run").exists()


def test_pickle_that_would_run_a_command(files: Files, tmp_path: Path) -> None:
    # Given three forms of a file that creates a marker when it is unpickled
    marker = tmp_path / "marker"
    command = hostile.marker_command(marker)
    payload = hostile.Payload(os.system, command)
    forms = {
        "pickle": hostile.archive(b"\x80\x02" + hostile.call("os", "system", hostile.text(command)) + b"."),
        "torch": hostile.saved({"head.weight": torch.rand(2, 2), "extra": payload}),
        "legacy": hostile.legacy({"head.weight": torch.rand(2, 2), "extra": payload}),
    }
    for name, content in forms.items():
        model = tmp_path / f"{name}.pt"
        model.write_bytes(content)

        outcome = auditor("scan", model, *files.flags, "--format", "json")

        assert outcome.code == 4, name
        assert not marker.exists(), name
        assert outcome.result["file_safety"]["status"] == "dangerous"
        assert "system" in outcome.result["errors"][0]["what"]


def test_the_marker_would_have_shown(tmp_path: Path) -> None:
    """The command of the payload works, so that its absence above says something."""
    assert os.system(hostile.marker_command(tmp_path / "marker")) == 0  # a constant of this test's own
    assert (tmp_path / "marker").exists()


def test_nan_weights_are_inconclusive(files: Files, tmp_path: Path) -> None:
    state = planted.planted().module.state_dict()
    state["look.weight"][0, 0, 0, 0] = float("nan")
    torch.save(state, tmp_path / "nan.pt")

    both = in_both_formats([tmp_path / "nan.pt", *files.flags], tmp_path)

    check_verdict(both, "look.weight", "NaN")
    check_folder(tmp_path / "run")


def test_wrong_class_count(files: Files, tmp_path: Path) -> None:
    both = in_both_formats([files.suspect, *files.flags, "--num-classes", "7"], tmp_path)

    check_error(both, 2, "has 6 outputs in this checkpoint, not 7")


def test_targets_that_the_network_does_not_have(files: Files) -> None:
    outcome = auditor("scan", files.suspect, *files.flags, "--targets", "6", "--format", "json")

    assert outcome.code == 2
    assert "class 6" in outcome.result["errors"][0]["what"]


# ---------------------------------------------------------------------------- images


def corrupt_png(folder: Path) -> Path:
    (folder / "0").mkdir(parents=True)
    for index in range(3):
        Image.fromarray(np.full((16, 16, 3), 40 * index, np.uint8)).save(folder / "0" / f"{index}.png")
    broken = folder / "0" / "1.png"
    broken.write_bytes(broken.read_bytes()[:50])
    return folder


IMAGES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "none", "does not exist"),
    "corrupt PNG": (lambda folder: corrupt_png(folder / "png"), "1.png cannot be decoded"),
    "object arrays": (
        lambda folder: material.write_images(folder / "x.npz", 12, x=np.array([object()] * 12)), "Python objects",
    ),
    "labels out of range": (
        lambda folder: material.write_images(folder / "x.npz", 12, y=np.arange(12)), "has label 6",
    ),
    "negative labels": (lambda folder: material.write_images(folder / "x.npz", 12, y=np.arange(12) - 3), "-3"),
}  # fmt: skip


@pytest.mark.parametrize("name", IMAGES)
def test_images_that_cannot_be_used(name: str, files: Files, tmp_path: Path) -> None:
    make, words = IMAGES[name]
    clean = make(tmp_path)

    both = in_both_formats([files.suspect, *files.network, "--clean", clean], tmp_path)

    check_error(both, 2, words)
    check_folder(tmp_path / "run")


def test_one_image_is_inconclusive(files: Files, tmp_path: Path) -> None:
    clean = material.write_images(tmp_path / "one.npz", 1)

    both = in_both_formats([files.suspect, *files.network, "--clean", clean], tmp_path)

    check_verdict(both, "--clean")


@pytest.mark.parametrize("given", [True, False], ids=["empty folder", "no --clean"])
def test_no_images_are_inconclusive_and_named(given: bool, files: Files, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    flags = ["--clean", tmp_path / "empty"] if given else []

    both = in_both_formats([files.suspect, *files.network, *flags], tmp_path)

    check_verdict(both, "--clean")
    check_folder(tmp_path / "run")


# ---------------------------------------------------------------------------- machine and output


def test_unwritable_output(files: Files, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    for output in (tmp_path / "file", tmp_path / "file" / "run"):
        outcome = auditor("audit", files.suspect, *files.flags, "-o", output, "--format", "json")

        assert outcome.code == outcome.result["run"]["exit_code"] == 2
        assert outcome.result["errors"][0]["kind"] == "output"
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_folder_of_something_else_is_left_alone(files: Files, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")

    outcome = auditor("audit", files.suspect, *files.flags, "-o", tmp_path, "--force")

    assert outcome.code == 2
    assert material.tree(tmp_path) == ["mine.txt"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_cuda(files: Files, tmp_path: Path) -> None:
    both = in_both_formats([files.suspect, *files.flags, "--device", "cuda"], tmp_path)

    check_error(both, 2, "no CUDA device")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("arguments", [["frobnicate", "model.pt"], ["scan"], ["audit", "model.pt"], ["scan", "m", "--no"]])
def test_usage_errors_print_no_object(arguments: list[str]) -> None:
    outcome = auditor(*arguments, "--format", "json")

    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.count("\n") == 2
    assert "Traceback" not in outcome.err


# ---------------------------------------------------------------------------- checks


def in_both_formats(arguments: Sequence[object], tmp_path: Path) -> tuple[Outcome, Outcome]:
    """The outcomes of an audit as JSON and of a scan as text."""
    return (
        auditor("audit", *arguments, "-o", tmp_path / "run", "--format", "json"), auditor("scan", *arguments)
    )  # fmt: skip


def check_error(both: tuple[Outcome, Outcome], code: int, words: str) -> None:
    as_json, as_text = both
    assert as_json.code == as_text.code == as_json.result["run"]["exit_code"] == code
    [error] = as_json.result["errors"]
    assert words in error["what"]
    assert error["next_step"]
    assert as_json.result["verdict"] is None
    for verb, outcome in zip(("audit", "scan"), both, strict=True):
        assert outcome.err.count(f"auditor {verb}: ") == 1
        assert words in outcome.err
        assert "Traceback" not in outcome.err + outcome.out
    assert words not in as_text.out


def check_verdict(both: tuple[Outcome, Outcome], *words: str) -> None:
    as_json, as_text = both
    assert as_json.code == as_text.code == as_json.result["run"]["exit_code"] == 3
    assert as_json.result["errors"] == []
    assert as_json.result["verdict"]["label"] == "inconclusive"
    for word in words:
        assert word in " ".join(as_json.result["verdict"]["reasons"])
        assert word in as_text.out


def check_folder(run: Path) -> None:
    """Either nothing was written, or a whole run that says how it ended."""
    assert not run.exists() or verify_seal(run) == []
    assert not [name for name in material.tree(run) if name.startswith("sanitized") or name.endswith((".tmp", ".pkl"))]
