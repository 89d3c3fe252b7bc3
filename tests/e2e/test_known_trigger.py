"""`sanitize --trigger` for users who know the trigger: every family end to end, and files that are no trigger."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import planted
import pytest
import torch
from material import Files, Outcome, auditor
from numpy.typing import NDArray

from auditor.pipeline import stages
from auditor.runs.seal import verify_seal
from auditor.stamps import cosines
from auditor.triggers import PARAMETERS, Trigger

SIDE = planted.SIDE
Arrays = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module", autouse=True)
def short_search() -> Iterator[None]:
    """A fresh search of one family: what it finds is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "FRESH", replace(stages.FRESH, families=("patch",), steps=20))
        yield


def redder(rows: slice, columns: slice, amount: float = 0.7) -> NDArray[np.float32]:
    """A change (C, H, W) that turns part of an image red."""
    delta = np.zeros((3, SIDE, SIDE), np.float32)
    delta[0, rows, columns] = amount
    delta[1:, rows, columns] = -0.3
    return delta


def slow_waves() -> NDArray[np.float32]:
    """The eight slowest cosines each way (C, U, V) of a red bottom right corner."""
    basis = cosines(8, SIDE).numpy()
    corner = redder(slice(SIDE - 5, SIDE), slice(SIDE - 5, SIDE))
    return np.einsum("chw,uh,vw->cuv", corner, basis, basis).astype(np.float32) / SIDE**2


def rightwards() -> NDArray[np.float32]:
    """A displacement grid (D, I, J) that fetches the bottom right corner from 6 pixels to its left."""
    grid = np.zeros((2, 4, 4), np.float32)
    grid[0, 2:, 3] = -6
    return grid


def reddening_network() -> Arrays:
    """A network (as of the family `feature`) that draws red everywhere, whatever the image."""
    second = np.ones((3, 1, 3, 3), np.float32)
    second[1:] = -1
    return {"first": np.zeros((1, 3, 3, 3), np.float32), "bias": np.ones(1, np.float32), "second": second,
            "strength": np.full(1, 0.4, np.float32)}  # fmt: skip


KNOWN: dict[str, Arrays] = {
    "patch": planted.corner_trigger().parameters,
    "additive": {"delta": redder(*planted.CORNER)},
    "lowfreq": {"coefficients": slow_waves()},
    "warp": {"displacement": rightwards()},
    "feature": reddening_network(),
}


def dotted(path: Path) -> Path:
    """The planted images, each with a red dot to the left of the corner, for a warp to move there."""
    images, labels = planted.planted_images(60)
    images[:, 0, SIDE - 5 :, SIDE - 9 : SIDE - 5] = 1
    images[:, 1:, SIDE - 5 :, SIDE - 9 : SIDE - 5] = 0
    np.savez(path, x=(images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy(), y=labels.numpy())
    return path


def sanitize(files: Files, trigger: Path, folder: Path, clean: Path | None = None) -> Outcome:
    return auditor("sanitize", files.suspect, *files.network, "--profile", "quick", "--clean", clean or files.clean,
                   "--trigger", trigger, "-o", folder, "--format", "json")  # fmt: skip


def test_every_family_has_a_known_trigger() -> None:
    assert set(KNOWN) == set(PARAMETERS)


@pytest.mark.parametrize("family", KNOWN)
def test_a_known_trigger_of_any_family_is_unlearned(family: str, files: Files, tmp_path: Path) -> None:
    # Given the true trigger, and images that it works on
    trigger = Trigger(family=family, target_class=planted.TARGET, parameters=KNOWN[family])
    trigger.save(tmp_path / "known.npz")
    clean = dotted(tmp_path / "dotted.npz") if family == "warp" else files.clean

    outcome = sanitize(files, tmp_path / "known.npz", tmp_path / "run", clean)

    # Then it is unlearned, verified and exported, without a verdict of our own
    assert outcome.code == 0, outcome.err
    result = outcome.result
    assert result["verdict"] is None
    (finding,) = result["triggers"]
    assert (finding["family"], finding["target_class"], finding["confirmed"]) == (family, planted.TARGET, True)
    assert finding["attack_success_rate"]["rate"] >= 0.8
    assert result["verification"]["passed"] is True
    assert result["verification"]["attack_success_rate"]["after"]["rate"] <= 0.1
    assert [p["is_weakness"] for p in result["verification"]["probes"]] == [False, False]
    # And attention is measured on the true trigger's own pixels
    x = np.load(clean)["x"]
    images = torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255
    assert result["attention"]["mask_area"] == pytest.approx(trigger.support(images).mean(), abs=0.02)
    assert result["attention"]["before"]["energy"]["count"] > 0
    kept = Trigger.load(tmp_path / "run" / "evidence" / "trigger_0.npz")
    for name, value in trigger.parameters.items():
        np.testing.assert_allclose(kept.parameters[name], value, atol=1e-6)
    assert verify_seal(tmp_path / "run") == []


def test_tar_is_measured_on_the_true_mask(files: Files, tmp_path: Path) -> None:
    planted.corner_trigger().save(tmp_path / "known.npz")
    attention = sanitize(files, tmp_path / "known.npz", tmp_path / "run").result["attention"]
    assert attention["mask_area"] == planted.corner_mask().mean()
    assert attention["before"]["energy"]["mean"] > 3 * attention["before"]["random_mask"]["mean"]
    assert attention["after"]["energy"]["mean"] < 0.5 * attention["before"]["energy"]["mean"]


def patch_file(**changes: Any) -> dict[str, Any]:
    """The arrays of a patch trigger's file, some replaced; None leaves one out."""
    mask, pattern = KNOWN["patch"]["mask"], KNOWN["patch"]["pattern"]
    arrays: dict[str, Any] = {"family": np.array("patch"), "target_class": np.array(4), "parameter_mask": mask,
                              "parameter_pattern": pattern}  # fmt: skip
    return {name: value for name, value in (arrays | changes).items() if value is not None}


HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "objects": (patch_file(parameter_mask=np.array([{"a": 1}], dtype=object)), "Python objects"),
    "no family": (patch_file(family=None), "family"),
    "unknown family": (patch_file(family=np.array("\x1b[2Jsinus")), "unknown trigger family"),
    "no mask": (patch_file(parameter_mask=None), "a patch trigger has mask, pattern"),
    "another array": (patch_file(parameter_delta=np.zeros((3, SIDE, SIDE))), "a patch trigger has mask, pattern"),
    "not finite": (patch_file(parameter_mask=np.full((SIDE, SIDE), np.nan)), "NaN or infinite"),
    "out of range": (patch_file(parameter_pattern=np.full((3, SIDE, SIDE), 255.0)), "[0, 1]"),
    "misshapen": (patch_file(parameter_mask=np.zeros((SIDE, SIDE, 1))), "shape"),
    "text for numbers": (patch_file(parameter_mask=np.full((SIDE, SIDE), "x")), "not numbers"),
    "sides that differ": (patch_file(parameter_mask=np.zeros((SIDE, SIDE + 1))), "does not fit"),
    "negative target": (patch_file(target_class=np.array(-1)), "not a class index"),
    "two targets": (patch_file(target_class=np.array([1, 2])), "2 values"),
    "beyond the classes": (patch_file(target_class=np.array(6)), "the model has 6 classes"),
    "source beyond the classes": (patch_file(source_classes=np.array([99])), "the model has 6 classes"),
    "of another size": (patch_file(parameter_mask=np.ones((8, 8)), parameter_pattern=np.ones((3, 8, 8))), "(8, 8)"),
    "grey": (patch_file(parameter_pattern=np.ones((1, SIDE, SIDE))), "(1, 16, 16)"),
    "does nothing": (patch_file(parameter_mask=np.zeros((SIDE, SIDE))), "flips only"),
    "toward another class": (patch_file(target_class=np.array(2)), "flips only"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_is_no_trigger_is_refused_with_one_error(name: str, files: Files, tmp_path: Path) -> None:
    arrays, words = HOSTILE[name]
    np.savez(tmp_path / "known.npz", **arrays)
    refused(sanitize(files, tmp_path / "known.npz", tmp_path / "run"), words)
    assert not (tmp_path / "run" / "sanitized.onnx").exists()


def refused(outcome: Outcome, words: str) -> None:
    assert outcome.code == 2, outcome.err
    (error,) = outcome.result["errors"]
    assert words in error["what"] and error["next_step"]
    assert "Traceback" not in outcome.err and "\x1b[2J" not in outcome.err + outcome.out


def header_that_lies() -> bytes:
    """An array file whose header claims far more than it holds."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)})
    with zipfile.ZipFile(packed := io.BytesIO(), "w") as archive:
        archive.writestr("parameter_mask.npy", stream.getvalue() + b"\0" * 64)
    return packed.getvalue()


@pytest.mark.parametrize("content", [b"", b"no archive", header_that_lies()], ids=["empty", "text", "lying header"])
def test_broken_files_are_refused_before_anything_is_written(content: bytes, files: Files, tmp_path: Path) -> None:
    (tmp_path / "known.npz").write_bytes(content)
    refused(sanitize(files, tmp_path / "known.npz", tmp_path / "run"), "known.npz")
    assert not (tmp_path / "run").exists()


def test_a_folder_and_a_missing_file_are_refused(files: Files, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.npz"):
        refused(sanitize(files, path, tmp_path / "run"), path.name)
    assert not (tmp_path / "run").exists()


def test_a_trigger_needs_clean_images(files: Files, tmp_path: Path) -> None:
    planted.corner_trigger().save(tmp_path / "known.npz")
    outcome = auditor("sanitize", files.suspect, *files.network, "--trigger", tmp_path / "known.npz", "-o", tmp_path / "run")
    assert outcome.code == 2 and "--clean" in outcome.err
    assert not (tmp_path / "run").exists()
