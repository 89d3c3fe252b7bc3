"""SHA256SUMS of a run folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from run_folders import PRINT, fill, tree

from auditor.errors import OutputError
from auditor.events import Notice
from auditor.runs import RunFolder, verify_seal


def test_the_seal_lists_every_file_sorted_and_sha256sum_agrees(tmp_path: Path) -> None:
    fill(tmp_path)
    odd = "evidence/line\nbreak\\.txt"
    with RunFolder.open(tmp_path, fingerprint=PRINT) as run:
        run.write_text(odd, "x")
        run.write_text("evidence/na\u00efve.txt", "y")
        run.seal()
    lines = (tmp_path / "SHA256SUMS").read_bytes().splitlines()
    names = [line.split(b"  ", 1)[1].decode() for line in lines]
    listed = {entry for entry in tree(tmp_path) if (tmp_path / entry).is_file()} - {"state.json", "SHA256SUMS"}
    assert {name.replace("\\n", "\n").replace("\\\\", "\\") for name in names} == listed
    assert names == sorted(names)
    assert verify_seal(tmp_path) == []
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=tmp_path, check=True)


def test_the_seal_tells_what_changed(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "report.html").write_text("new")
    (tmp_path / "report.pdf").unlink()
    (tmp_path / "added\x1b.txt").write_text("x")
    (tmp_path / "sanitized.onnx").unlink()
    (tmp_path / "sanitized.onnx").symlink_to("/dev/zero")
    assert verify_seal(tmp_path) == [
        "report.html was changed.",
        "report.pdf is missing.",
        "sanitized.onnx is not a readable, plain file of this folder.",
        "added\ufffd.txt is not listed.",
    ]
    (tmp_path / "SHA256SUMS").unlink()
    assert "missing" in verify_seal(tmp_path)[0]


def test_a_hostile_seal_is_reported_not_followed(tmp_path: Path) -> None:
    digest = "0" * 64
    (tmp_path / "SHA256SUMS").write_bytes(
        f"{digest}  ../outside\n{digest}  /dev/zero\nnonsense\n{digest}  \n".encode()
        + f"{digest}  twice\n{digest}  twice\n\\{digest}  a\\qb\n".encode() + b"\xff\xfe\n"
    )  # fmt: skip
    problems = verify_seal(tmp_path)
    assert len(problems) == 8
    assert all("\x1b" not in problem for problem in problems)
    (tmp_path / "SHA256SUMS").unlink()
    os.mkfifo(tmp_path / "SHA256SUMS")
    assert verify_seal(tmp_path) == ["SHA256SUMS cannot be read."]


def test_any_later_write_breaks_the_seal_until_it_is_renewed(tmp_path: Path) -> None:
    fill(tmp_path)
    with RunFolder.open(tmp_path, fingerprint=PRINT) as run:
        assert verify_seal(tmp_path) == [], "resuming alone changes nothing"
        for change in (
            lambda: run.record(Notice(message="x")), lambda: run.write_text("report.html", "new"),
            lambda: run.forget("detect"), lambda: run.discard("report.pdf"), lambda: run.target("sanitized.onnx"),
        ):  # fmt: skip
            run.seal()
            assert verify_seal(tmp_path) == []
            change()
            assert not (tmp_path / "SHA256SUMS").exists()


def test_links_and_pipes_cannot_be_sealed(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, fingerprint=PRINT) as run:
        (tmp_path / "linked").symlink_to("/etc")
        with pytest.raises(OutputError, match="linked cannot be sealed"):
            run.seal()
