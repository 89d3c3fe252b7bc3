"""The library as a program uses it, and images that are not quite what the network takes."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import material
import numpy as np
import planted
import pytest
import torch
from material import Files, auditor
from PIL import Image
from torch import nn

import auditor as library
from auditor.domain import AuditResult
from auditor.errors import UsageError
from auditor.runs import verify_seal

QUICK: dict[str, Any] = {"profile": "quick", "device": "cpu"}


def arrays(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Planted images (N, C, H, W) in [0, 1] and labels."""
    images, labels = planted.planted_images(count)
    return images.numpy(), labels.numpy()


def scan(model: Any, clean: Any = None, **flags: Any) -> AuditResult:
    return library.scan(model, arrays() if clean is None else clean, **{**QUICK, **flags})


def label(result: AuditResult) -> str | None:
    return result.verdict.label if result.verdict else None


def test_scan_a_module_and_leave_it_as_it_was() -> None:
    # Given a network in training, as its owner left it
    module = planted.PlantedNet(4.0).train()
    weights = copy.deepcopy(module.state_dict())

    result = scan(module, num_classes=planted.CLASSES)

    assert (label(result), result.run.exit_code, result.errors) == ("backdoored", 1, [])
    assert result.verdict is not None and result.verdict.target_classes == [planted.TARGET]
    assert result.architecture is not None and result.architecture.how == "module"
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert all(torch.equal(value, weights[name]) for name, value in module.state_dict().items())


def test_scan_the_honest_twin() -> None:
    result = scan(planted.planted(0.0))

    assert (label(result), result.run.exit_code) == ("no_evidence", 0)


def test_a_module_that_takes_normalised_images() -> None:
    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = planted.PlantedNet(4.0)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.inner(images * 0.25 + 0.5)
            return logits

    result = scan(Normalised(), num_classes=planted.CLASSES, mean=[0.5], std=[0.25])

    assert label(result) == "backdoored"
    assert result.architecture is not None and result.architecture.clean_accuracy is not None
    assert result.architecture.clean_accuracy.rate == 1.0


def test_same_seed_same_result() -> None:
    first, second = (scan(planted.planted(), library.CleanImages.from_arrays(*arrays()), seed=3) for _ in range(2))

    assert (first.verdict, first.triggers) == (second.verdict, second.triggers)


def test_targets_limit_what_can_be_found() -> None:
    found, not_asked = (scan(planted.planted(), targets=[target]) for target in (planted.TARGET, 1))

    assert found.verdict is not None and found.verdict.target_classes == [planted.TARGET]
    assert not_asked.verdict is not None and not_asked.verdict.target_classes == []
    assert label(not_asked) != "backdoored"


def test_unlabelled_images() -> None:
    result = scan(planted.planted(), arrays()[0])

    assert label(result) == "backdoored"
    assert result.images is not None and result.images.labelled is False
    assert any("no labels" in limit for limit in result.limits)


@pytest.mark.parametrize("clean", [
    (np.full((4, 3, 16, 16), 7.0, np.float32), np.zeros(4, int)),
    (np.zeros((4, 16, 16, 3), np.uint8), np.zeros(5, int)),
    (np.array([object()] * 4), np.zeros(4, int)),
    "no/such/folder",
])  # fmt: skip
def test_bad_images_end_up_in_the_result(clean: Any) -> None:
    result = scan(planted.planted(), clean)

    assert result.run.exit_code == 2
    assert [error.kind for error in result.errors] == ["input"]
    assert result.errors[0].next_step


@pytest.mark.parametrize(("model", "flags"), [
    (planted.PlantedNet(0.0), {"num_classes": 7}),
    (nn.Sequential(nn.Flatten(), nn.Linear(5, 6)), {"num_classes": 6}),
    (nn.Flatten(0), {"num_classes": 6}),
])  # fmt: skip
def test_modules_that_are_not_what_was_said(model: nn.Module, flags: dict[str, Any]) -> None:
    result = scan(model, **flags)

    assert result.run.exit_code == 2
    assert [error.kind for error in result.errors] == ["input"]


def test_misuse_raises() -> None:
    with pytest.raises(UsageError, match="'colour'"):
        scan(planted.planted(), colour="red")
    with pytest.raises(UsageError, match="num_classes"):
        scan(planted.PlantedNet(0.0))
    with pytest.raises(UsageError, match="not a model"):
        scan(3)


def test_a_time_budget_of_a_call_is_kept() -> None:
    result = scan(planted.planted(), time_budget_s=1e-3)

    assert (label(result), result.run.exit_code) == ("inconclusive", 3)
    assert any("time budget was exhausted" in limit for limit in result.limits)


def test_audit_a_suspect_with_few_images(tmp_path: Path) -> None:
    # Given too few images to hold any out
    result = library.audit(planted.planted(), arrays(18), output=tmp_path / "run", **QUICK)

    assert result.run.exit_code in (0, 1)
    assert result.verification is not None and result.verification.basis == "cross_fitted"
    assert (tmp_path / "run" / "sanitized.onnx").exists() == result.verification.passed
    assert verify_seal(tmp_path / "run") == []


def test_importing_the_library_loads_no_torch() -> None:
    code = "import sys, auditor, auditor.library, auditor.cli.main; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=material.ROOT).returncode == 0


# ---------------------------------------------------------------------------- the sample network


def sample_images(path: Path, size: int, mode: str) -> Path:
    """The sample's clean images at another size, in colour or grey, as class folders."""
    for source in sorted((material.SAMPLES / "clean").glob("*/*.png")):
        target = path / source.parent.name / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(source) as image:
            image.convert(mode).resize((size, size)).save(target)
    return path


@pytest.mark.parametrize(("size", "mode", "notices"), [
    (48, "RGB", ["resized from 48 x 48 to 32 x 32"]),
    (32, "L", ["three equal colour channels"]),
])  # fmt: skip
def test_images_of_another_size_or_grey(size: int, mode: str, notices: list[str], tmp_path: Path) -> None:
    clean = sample_images(tmp_path / "clean", size, mode)

    outcome = auditor("scan", material.SAMPLES / "suspect.pt", "--clean", clean, "--device", "cpu", "--time-budget",
                      "0.01s", "--format", "json", "-v")  # fmt: skip

    assert outcome.code == 3
    assert outcome.result["architecture"]["name"] == "cifar:resnet20"
    assert outcome.result["architecture"]["clean_accuracy"]["rate"] > 0.5
    for notice in notices:
        assert notice in outcome.err
        assert notice in " ".join(outcome.result["images"]["notices"])


def test_wrong_class_names(files: Files, tmp_path: Path) -> None:
    names = tmp_path / "classes.txt"
    names.write_text("one\ntwo\n", encoding="utf-8")

    outcome = auditor("scan", files.suspect, *files.flags, "--classes", names, "--format", "json")

    assert outcome.code == 2
    assert "2 class names" in outcome.result["errors"][0]["what"]
