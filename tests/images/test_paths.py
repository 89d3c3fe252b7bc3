"""Paths that are absent, lead elsewhere, loop or hold too much."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from image_sets import refused, said, write

from auditor.images import CleanImages
from auditor.images import decode as decoding
from auditor.images import folder as folders


@pytest.mark.parametrize("name", ["absent", "x" * 5000, "nul\0"])
def test_path_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    refused(tmp_path / name)


def test_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images.tar").write_bytes(b"x")
    refused(tmp_path / "images.tar", "neither a folder nor an .npz")


def test_symlink_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside.png")
    write(tmp_path / "in" / "0" / "a.png")
    (tmp_path / "in" / "0" / "b.png").symlink_to(outside)
    refused(tmp_path / "in", "b.png", "symbolic link that leaves")


def test_class_folder_linked_from_outside_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0").symlink_to(tmp_path / "elsewhere")
    refused(tmp_path / "in", "symbolic link that leaves")


def test_symlink_loop_and_pipe_do_not_hang(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert said(CleanImages.from_path(tmp_path), "not a regular file")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    refused(tmp_path, "loop.png")


def test_symlink_within_the_folder_is_followed(tmp_path: Path) -> None:
    write(tmp_path / "0" / "a.png")
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "b.png").symlink_to(tmp_path / "0" / "a.png")
    assert len(CleanImages.from_path(tmp_path)) == 2


def test_limits_on_number_and_size_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.png")
    monkeypatch.setattr(folders, "MAX_IMAGES", 2)
    refused(tmp_path, "3 images; at most 2")
    monkeypatch.setattr(folders, "MAX_IMAGES", 3)
    monkeypatch.setattr(folders, "MAX_BYTES", 900)
    refused(tmp_path, "at most 900")
    monkeypatch.setattr(folders, "MAX_ENTRIES", 2)
    refused(tmp_path, "more than 2 entries")
    monkeypatch.setattr(decoding, "MAX_FILE_BYTES", 10)
    monkeypatch.setattr(folders, "MAX_ENTRIES", 3)
    monkeypatch.setattr(folders, "MAX_BYTES", 10**6)
    refused(tmp_path, "a.png is larger")
