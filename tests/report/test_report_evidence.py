"""Evidence arrays that are missing, malformed or hostile cost a picture, never the report."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import page_reader
import pytest
import report_runs as runs

from auditor.report import evidence, render
from auditor.report.evidence import EvidenceError


def _npz(path: Path, **arrays: np.ndarray) -> None:
    np.savez(path, **arrays)  # type: ignore[arg-type]


def _lying_header(path: Path) -> None:
    """A member of a few bytes whose header claims a petabyte."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**25, 2**25)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("parameter_mask.npy", header.getvalue() + b"\0" * 64)


MALFORMED: dict[str, Callable[[Path], object]] = {
    "empty": lambda p: p.write_bytes(b""),
    "text": lambda p: p.write_text("hello"),
    "truncated": lambda p: p.write_bytes(p.read_bytes()[:200]),
    "pickled objects": lambda p: _npz(p, parameter_mask=np.array([{}], dtype=object)),
    "header that lies": _lying_header,
    "wrong rank": lambda p: _npz(p, parameter_mask=np.zeros(3, np.float32), clean=np.zeros(3, np.uint8),
                                 images=np.zeros(3, np.uint8)),
    "no pixels": lambda p: _npz(p, clean=np.zeros((0, 8, 8, 3), np.uint8), images=np.zeros((0, 8, 8, 3), np.uint8),
                                parameter_mask=np.zeros((0, 0), np.float32)),
    "complex": lambda p: _npz(p, clean=np.zeros((2, 8, 8, 3), np.complex64),
                              images=np.zeros((2, 8, 8, 3), np.complex64),
                              parameter_mask=np.zeros((8, 8), np.complex64)),
}  # fmt: skip


@pytest.mark.parametrize("damage", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_file_becomes_a_note(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    # Given a run in which the three kinds of evidence are damaged
    folder = runs.write_run(tmp_path)
    for name in ("trigger_0", "stamped_0", "attention"):
        damage(folder / "evidence" / f"{name}.npz")
    # When it is rendered
    page = page_reader.read(render(folder, pdf=False).html.read_text(encoding="utf-8"))
    # Then the report says which pictures are missing, and the second trigger still has its own
    text = page.by_id("triggers").text
    assert "No pictures of stamped images: stamped_0.npz" in text
    assert "No picture of the trigger: trigger_0.npz" in text
    assert "No heat-maps: attention.npz" in text
    assert len(page.all("img")) >= 13


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "LARGEST_BYTES", 2**20)
    half = np.zeros(2**18, np.float32)
    np.savez_compressed(tmp_path / "bomb.npz", a=half, b=half)
    assert (tmp_path / "bomb.npz").stat().st_size < 2**13
    with pytest.raises(EvidenceError, match="unpacks to too much"):
        evidence.read_arrays(tmp_path / "bomb.npz")


def test_missing_evidence_becomes_a_note(tmp_path: Path) -> None:
    folder = runs.write_run(tmp_path, evidence=False)
    text = page_reader.read(render(folder, pdf=False).html.read_text(encoding="utf-8")).by_id("triggers").text
    assert "evidence/attention.npz is not there" in text


@pytest.mark.parametrize("name", ["../secret.npz", "/etc/passwd", "", "evidence/../../secret.npz", "a\0b", "..\\x.npz",
                                  "evidence", "e" * 5000])  # fmt: skip
def test_evidence_outside_the_run_is_refused(tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    (run / "evidence").mkdir(parents=True)
    (tmp_path / "secret.npz").write_bytes(b"secret")
    with pytest.raises(EvidenceError):
        evidence.inside(run, name)


def test_a_link_out_of_the_run_and_a_pipe_are_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "secret.npz").write_bytes(b"secret")
    (run / "link.npz").symlink_to(tmp_path / "secret.npz")
    (run / "loop.npz").symlink_to("loop.npz")
    os.mkfifo(run / "pipe.npz")
    for name in ("link.npz", "loop.npz", "pipe.npz"):
        with pytest.raises(EvidenceError):
            evidence.inside(run, name)


def test_values_that_are_not_finite_are_drawn_as_bounds(tmp_path: Path) -> None:
    mask = np.full((8, 8), np.nan)
    mask[0, 0], mask[0, 1] = np.inf, 1e300
    _npz(tmp_path / "t.npz", parameter_mask=mask, parameter_pattern=np.full((3, 8, 8), -np.inf))
    read = evidence.read_trigger(tmp_path / "t.npz")
    assert read.mask is not None and read.pattern is not None
    assert np.isfinite(read.mask).all() and np.isfinite(read.pattern).all()


def test_pattern_and_mask_must_agree(tmp_path: Path) -> None:
    _npz(
        tmp_path / "t.npz",
        parameter_mask=np.zeros((8, 8), np.float32),
        parameter_pattern=np.zeros((3, 9, 8), np.float32),
    )
    with pytest.raises(EvidenceError, match="differ in size"):
        evidence.read_trigger(tmp_path / "t.npz")


def test_heat_maps_of_another_size_are_refused(tmp_path: Path) -> None:
    _npz(tmp_path / "a.npz", images=np.zeros((2, 8, 8, 3), np.uint8), before=np.zeros((2, 4, 4), np.float32))
    with pytest.raises(EvidenceError, match="'before'"):
        evidence.read_heat_maps(tmp_path / "a.npz")


def test_grey_images_and_large_ones_are_drawn(tmp_path: Path) -> None:
    folder = runs.write_run(tmp_path)
    n, side = 2, 400
    grey = np.zeros((n, side, side, 1), np.uint8)
    labels = np.zeros(n, np.int64)
    _npz(folder / "evidence" / "stamped_0.npz", clean=grey, triggered=grey + 9, true=labels, predicted_clean=labels,
         predicted_triggered=labels + 3)  # fmt: skip
    text = page_reader.read(render(folder, pdf=False).html.read_text(encoding="utf-8")).by_id("triggers").text
    assert "answers cat on 2 of the 2 stored images" in text


def test_hostile_events_are_skipped(tmp_path: Path) -> None:
    folder = runs.write_run(tmp_path)
    kept = (folder / "events.jsonl").read_text(encoding="utf-8")
    bad = [
        "SearchStep", '{"event": "SearchStep"}', '{"event": "UnlearnStep", "method": 3}', "[" * 50_000 + "SearchStep",
        '{"event": "SearchStep", "family": "patch", "step": 1e999, "classes": [0], "cost": [1]}',
        '{"event": "UnlearnStep", "method": "x", "step": 1, "clean_accuracy": NaN, "proxy_attack_success_rate": 1}',
    ]  # fmt: skip
    before = render(folder, pdf=False).html.read_bytes()
    (folder / "events.jsonl").write_text("\n".join([*bad, kept, *bad]), encoding="utf-8")
    assert render(folder, pdf=False).html.read_bytes() == before
    (folder / "events.jsonl").write_bytes(b"\xff\xfe SearchStep \x00\n" * 10)
    assert render(folder, pdf=False).html.is_file()
