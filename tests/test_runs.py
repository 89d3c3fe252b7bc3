"""Opening, resuming and writing a run folder, among hostile folders and with --force."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from run_folders import PRINT, fill, result, tree

from auditor import files
from auditor.domain import SCHEMA_VERSION
from auditor.errors import OutputError, UsageError
from auditor.events import Notice
from auditor.runs import RunFolder

# --- opening and resuming -------------------------------------------------------------------


def test_a_new_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path / "a" / "b", fingerprint=PRINT) as run:
        assert run.path == tmp_path / "a" / "b"
        assert run.evidence.is_dir()
        assert run.stage("detect") is None
    assert tree(tmp_path / "a" / "b") == ["events.jsonl", "evidence", "state.json"]


def test_the_same_fingerprint_resumes_and_stages_are_kept(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, fingerprint=PRINT) as run:
        run.finish_stage("detect", {"score": np.float32(0.5), "bad": float("inf"), "list": (1, 2)})
        run.finish_stage("attend", result())
    with RunFolder.open(tmp_path, fingerprint=dict(reversed(PRINT.items()))) as run:
        assert run.stage("detect") == {"score": 0.5, "bad": None, "list": [1, 2]}
        assert (run.stage("attend") or {})["run"]["argv"] == ["a\udc80"]
        run.forget("detect", "never_run")
        assert run.stage("detect") is None
        assert run.stage("attend") is not None


def test_a_broken_stage_is_run_again(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, fingerprint=PRINT) as run:
        for content in ("{", "[1]", "[" * 100_000, "\x00", "null"):
            run.write_text("evidence/stages/detect.json", content)
            assert run.stage("detect") is None


def test_stage_names_and_parts_are_checked(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, fingerprint=PRINT) as run:
        for name in ("", "../x", "A", "a/b", "x" * 41, "a.json"):
            with pytest.raises(UsageError):
                run.stage(name)
        with pytest.raises(UsageError, match="list"):
            run.finish_stage("detect", [1])


def test_another_fingerprint_is_refused_naming_what_differs_and_force(tmp_path: Path) -> None:
    RunFolder.open(tmp_path, fingerprint=PRINT).close()
    before = tree(tmp_path)
    with pytest.raises(OutputError, match="images") as caught:
        RunFolder.open(tmp_path, fingerprint={**PRINT, "images": "other"})
    assert "--force" in caught.value.next_step
    assert "checkpoint" not in caught.value.what
    assert tree(tmp_path) == before


def test_a_folder_of_someone_else_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for foreign in ("{}", '{"tool": "other", "fingerprint": {}}', "not json", "[" * 100_000):
        (tmp_path / "state.json").write_text(foreign)
        for force in (False, True):
            with pytest.raises(OutputError, match="no run of auditor") as caught:
                RunFolder.open(tmp_path, fingerprint=PRINT, force=force)
            assert "--force" in caught.value.next_step
    assert tree(tmp_path) == ["state.json", "thesis.tex"]


def test_a_file_or_dangling_link_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "absent")
    for name in ("file", "dangling", "file/run"):
        with pytest.raises(OutputError):
            RunFolder.open(tmp_path / name, fingerprint=PRINT, force=True)
    assert tree(tmp_path) == ["dangling", "file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind the superuser")
def test_an_unwritable_place_is_refused_before_any_work(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    for path in (tmp_path, tmp_path / "run"):
        with pytest.raises(OutputError, match="cannot be written"):
            RunFolder.open(path, fingerprint=PRINT)


def test_a_place_that_takes_no_files_is_refused() -> None:
    for path in (Path("/proc/auditor"), Path("/dev/null/run")):
        with pytest.raises(OutputError):
            RunFolder.open(path, fingerprint=PRINT)


# --- --force --------------------------------------------------------------------------------


def test_force_starts_over_and_keeps_what_others_put_there(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "notes.md").write_text("mine")
    (tmp_path / "evidence" / "review.docx").write_text("mine")
    (tmp_path / "evidence" / "link.npz").symlink_to(tmp_path / "notes.md")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "result.json").write_text("mine")
    for fingerprint in ({**PRINT, "images": "other"}, PRINT):
        with RunFolder.open(tmp_path, fingerprint=fingerprint, force=True) as run:
            assert run.stage("detect") is None
            assert run.record(Notice(message="first")).number == 1
        assert tree(tmp_path) == [
            "events.jsonl", "evidence", "evidence/link.npz", "evidence/review.docx", "mine", "mine/result.json",
            "notes.md", "state.json",
        ]  # fmt: skip


def test_force_takes_a_finished_run_without_its_state(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "state.json").unlink()
    with pytest.raises(OutputError, match="cannot be resumed") as caught:
        RunFolder.open(tmp_path, fingerprint=PRINT)
    assert "--force" in caught.value.next_step
    with RunFolder.open(tmp_path, fingerprint=PRINT, force=True):
        assert not (tmp_path / "result.json").exists()
    (tmp_path / "state.json").unlink()
    (tmp_path / "result.json").write_text('{"schema_version": "1.0", "tool": {"name": "another"}}')
    with pytest.raises(OutputError, match="no run of auditor"):
        RunFolder.open(tmp_path, fingerprint=PRINT, force=True)


def test_force_does_not_reach_through_links(tmp_path: Path) -> None:
    outside, run = tmp_path / "outside", tmp_path / "run"
    (outside / "stages").mkdir(parents=True)
    (outside / "stages" / "keep.json").write_text("mine")
    (outside / "keep.npz").write_text("mine")
    fill(run)
    shutil.rmtree(run / "evidence")
    (run / "evidence").symlink_to(outside)
    with pytest.raises(OutputError, match="link"):
        RunFolder.open(run, fingerprint=PRINT, force=True)
    (run / "evidence").unlink()
    (run / "evidence").mkdir()
    (run / "evidence" / "frames").symlink_to(outside)
    (run / "report.html").unlink()
    (run / "report.html").symlink_to(outside / "keep.npz")
    RunFolder.open(run, fingerprint=PRINT, force=True).close()
    assert tree(outside) == ["keep.npz", "stages", "stages/keep.json"]


# --- writing --------------------------------------------------------------------------------


def test_files_are_written_where_asked_and_discarded(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, fingerprint=PRINT) as run:
        assert run.write_text("report.html", "caf\u00e9\n").read_bytes() == "caf\u00e9\n".encode()
        assert run.write_bytes("evidence/deep/er/x.bin", b"\x00").read_bytes() == b"\x00"
        with np.load(run.save_arrays("evidence/a.npz", x=np.eye(2), y=[1]), allow_pickle=False) as stored:
            assert stored["x"].tolist() == [[1, 0], [0, 1]]
        run.discard("report.html")
        run.discard("report.html")
        assert not (tmp_path / "report.html").exists()


def test_stored_arrays_are_the_same_bytes_every_time_and_never_objects(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, fingerprint=PRINT) as run:
        first = run.save_arrays("a.npz", x=np.eye(3)).read_bytes()
        time.sleep(2.1)  # zip stores times in steps of two seconds
        assert run.save_arrays("a.npz", x=np.eye(3)).read_bytes() == first
        with pytest.raises(TypeError, match="pickled"):
            run.save_arrays("b.npz", x=np.array([{}], dtype=object))
        assert not (tmp_path / "b.npz").exists()


def test_nothing_is_written_outside_or_over_the_folders_own_files(tmp_path: Path) -> None:
    run_path, outside = tmp_path / "run", tmp_path / "outside"
    outside.mkdir()
    with RunFolder.open(run_path, fingerprint=PRINT) as run:
        (run_path / "evidence" / "out").symlink_to(outside)
        for relative in ("", "..", "../x", "/tmp/x", "evidence/../../x", "evidence/out/x", "a\x00b", "state.json",
                         "./events.jsonl", ".lock", "SHA256SUMS", "evidence", "y" * 300):  # fmt: skip
            with pytest.raises(OutputError):
                run.write_text(relative, "x")
            with pytest.raises(OutputError):
                run.discard(relative)
        assert list(outside.iterdir()) == []
        # A link in the place of a file is replaced, and what it names stays.
        (outside / "precious").write_text("mine")
        (run_path / "report.html").symlink_to(outside / "precious")
        run.write_text("report.html", "new")
        assert (outside / "precious").read_text() == "mine"
        assert not (run_path / "report.html").is_symlink()


@pytest.mark.parametrize("name", ["events.jsonl", ".lock"])
@pytest.mark.parametrize("trick", ["link", "hard link", "pipe", "folder"])
def test_tricks_in_the_place_of_files_that_are_appended_to(tmp_path: Path, name: str, trick: str) -> None:
    run, precious = tmp_path / "run", tmp_path / "precious"
    RunFolder.open(run, fingerprint=PRINT).close()
    precious.write_text("mine\n")
    (run / name).unlink(missing_ok=True)
    match trick:
        case "link":
            (run / name).symlink_to(precious)
        case "hard link":
            (run / name).hardlink_to(precious)
        case "pipe":
            os.mkfifo(run / name)
        case "folder":
            (run / name).mkdir()
    with pytest.raises(OutputError):
        RunFolder.open(run, fingerprint=PRINT)
    assert precious.read_text() == "mine\n"
    assert name == ".lock" or not (run / ".lock").exists()


def test_a_closed_folder_takes_no_more(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path, fingerprint=PRINT)
    run.close()
    for write in (lambda: run.record(Notice(message="x")), lambda: run.write_text("a", "b"), run.seal):
        with pytest.raises(OutputError, match="closed"):
            write()


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, fingerprint=PRINT) as run:
        run.write_text("report.html", "old")
        with pytest.raises(KeyError), files.replacing(run.target("report.html")) as stream:
            stream.write(b"half")
            raise KeyError
        assert (tmp_path / "report.html").read_text() == "old"
        assert not [entry for entry in tree(tmp_path) if entry.endswith(".tmp")]


def test_the_result_is_canonical_json(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, fingerprint=PRINT) as run:
        written = json.loads(run.write_result(result("again")).read_bytes())
    assert written["reproduce"] == "again"
    assert written["run"]["argv"] == ["a\udc80"]
    assert written["schema_version"] == SCHEMA_VERSION
