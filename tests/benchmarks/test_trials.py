"""Drawing images, and measuring an ONNX file with a true trigger."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import planted
import pytest
import torch

import auditor
from auditor.exporting import export_onnx
from benchmarks import one_run
from benchmarks.measuring import (
    Trial,
    normalization_of,
    normalized,
    predict_onnx,
    sanitized_onnx,
    stratified,
    write_clean,
)  # fmt: skip


def test_a_draw_has_as_many_of_each_class_and_repeats() -> None:
    labels = np.random.default_rng(5).integers(0, 10, 400)
    drawn = stratified(labels, 50, 7)
    assert np.bincount(labels[drawn], minlength=10).tolist() == [5] * 10
    assert np.array_equal(drawn, np.unique(drawn))
    assert np.array_equal(drawn, stratified(labels, 50, 7))
    assert not np.array_equal(drawn, stratified(labels, 50, 8))


def test_a_draw_takes_what_scarce_classes_have() -> None:
    labels = np.array([0] * 2 + [1] * 30 + [2] * 30)
    assert np.bincount(labels[stratified(labels, 20, 0)]).tolist() == [2, 9, 9]
    assert np.array_equal(stratified(labels, 62, 0), np.arange(62))


def test_an_uneven_count_differs_by_one_image_a_class() -> None:
    labels = np.arange(400) % 10
    counts = np.bincount(labels[stratified(labels, 26, 3)], minlength=10)
    assert counts.sum() == 26 and set(counts.tolist()) == {2, 3}


@pytest.mark.parametrize("count", [0, -1, 401])
def test_a_draw_of_too_few_or_too_many_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="cannot be drawn"):
        stratified(np.zeros(400, dtype=np.int64), count, 0)


def test_written_images_are_read_by_the_tool(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 8), dtype=np.uint8)
    path = write_clean(tmp_path / "sub" / "clean.npz", images, np.arange(6))
    read = auditor.CleanImages.from_path(path)
    assert np.array_equal(np.asarray(read.images), images.transpose(0, 2, 3, 1))
    assert read.labels is not None and read.labels.tolist() == list(range(6))


def test_normalization_is_per_channel() -> None:
    images = np.full((2, 3, 1, 1), 0.5, dtype=np.float32)
    found = normalized(images, [0.5, 0.25, 0.0], [0.5, 0.5, 0.25])
    assert found.dtype == np.float32
    assert found[0].ravel().tolist() == [0.0, 0.5, 2.0]


def test_the_true_trigger_is_measured_through_onnx(tmp_path: Path) -> None:
    # Given: the planted network and its honest twin as ONNX, and images with the true trigger
    images, labels = planted.planted_images(30)
    trial = Trial(clean=images.numpy(), triggered=planted.corner_trigger().stamp(images).numpy(), labels=labels.numpy(),
                  target=planted.TARGET)  # fmt: skip
    measured = {}
    for name, strength in (("suspect", 4.0), ("twin", 0.0)):
        export_onnx(planted.planted(strength), tmp_path / f"{name}.onnx", metadata={})
        measured[name] = trial.measure(tmp_path / f"{name}.onnx", [0.0], [1.0])
    # Then: the trigger moves the 25 images of other classes, and only in the backdoored network
    assert (measured["suspect"]["attack_success_rate"].hits, measured["suspect"]["attack_success_rate"].total) == (25, 25)
    assert measured["twin"]["attack_success_rate"].hits == 0
    assert measured["suspect"]["accuracy"].rate == measured["twin"]["accuracy"].rate == 1.0


def test_onnx_answers_as_the_network_does(tmp_path: Path) -> None:
    suspect = planted.planted()
    suspect = auditor.Suspect(suspect.module, num_classes=planted.CLASSES, input_shape=suspect.input_shape,
                              mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))  # fmt: skip
    export_onnx(suspect, tmp_path / "m.onnx", metadata={})
    images = torch.rand(9, 3, planted.SIDE, planted.SIDE, generator=torch.Generator().manual_seed(0))
    said = predict_onnx(tmp_path / "m.onnx", images.numpy(), list(suspect.mean), list(suspect.std))
    assert np.array_equal(said, suspect.predict(images))


def test_the_model_that_passed_is_preferred_to_a_candidate(tmp_path: Path) -> None:
    assert sanitized_onnx(tmp_path) is None
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "candidate_sanitized.onnx").touch()
    assert sanitized_onnx(tmp_path) == tmp_path / "evidence" / "candidate_sanitized.onnx"
    (tmp_path / "sanitized.onnx").touch()
    assert sanitized_onnx(tmp_path) == tmp_path / "sanitized.onnx"


def test_the_normalization_comes_from_the_result() -> None:
    stored = {"architecture": {"normalization": {"mean": [0.5], "std": [0.25]}}}
    assert normalization_of(stored) == ([0.5], [0.25])
    with pytest.raises(ValueError, match="before the architecture"):
        normalization_of({"architecture": None})


def test_memory_is_read_in_bytes() -> None:
    now, highest = one_run.memory("VmRSS"), one_run.memory("VmHWM")
    assert 20 * 1024**2 < now <= highest < 1024**4


def test_a_run_of_its_own_reports_result_and_memory(tmp_path: Path) -> None:
    # Given: a file that is no checkpoint, so that the whole path is quick
    (tmp_path / "broken.pt").write_bytes(b"no checkpoint")
    clean = write_clean(tmp_path / "c.npz", np.zeros((3, 3, 8, 8), dtype=np.uint8), np.arange(3))
    # When
    told = one_run.run_once("scan", tmp_path / "broken.pt", clean, timeout_s=120, seed=1)
    # Then
    assert told["result"]["run"]["exit_code"] == 4
    assert told["peak_bytes"] >= told["libraries_bytes"] > 50 * 1024**2
    assert told["seconds"] > 0


def test_a_run_that_says_nothing_is_an_error_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="AttributeError"):
        one_run.run_once("no_such_verb", tmp_path / "m.pt", tmp_path / "c.npz", timeout_s=120)
