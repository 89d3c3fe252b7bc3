"""Run folders under second processes and kills."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from run_folders import PRINT, ROOT, spawn, tree

from auditor.errors import OutputError
from auditor.events import Notice, SearchStep
from auditor.runs import RunFolder, load_picture, read_events, verify_seal

HOLD = """
import sys
from pathlib import Path
from auditor.runs import RunFolder
run = RunFolder.open(Path(sys.argv[1]), fingerprint={"checkpoint": "aa", "images": "bb", "configuration": "cc"})
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_refused_and_told_who_holds_the_folder(tmp_path: Path) -> None:
    holder = spawn(HOLD, tmp_path)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        for force in (False, True):
            with pytest.raises(OutputError, match=f"process {holder.pid}"):
                RunFolder.open(tmp_path, fingerprint=PRINT, force=force)
    finally:
        holder.kill()
        holder.communicate()
    # The system frees the lock of a killed process, though its file stays.
    assert (tmp_path / ".lock").read_text() == str(holder.pid)
    holding, refused = RunFolder.open(tmp_path, fingerprint=PRINT), f"process {os.getpid()}"
    with holding, pytest.raises(OutputError, match=refused):
        RunFolder.open(tmp_path, fingerprint=PRINT)
    assert not (tmp_path / ".lock").exists()


def test_closing_twice_is_harmless_and_frees_the_folder(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path, fingerprint=PRINT)
    run.close()
    with RunFolder.open(tmp_path, fingerprint=PRINT):
        run.close()
        with pytest.raises(OutputError, match="in use"):
            RunFolder.open(tmp_path, fingerprint=PRINT)


RACE = """
import sys
from pathlib import Path
from auditor.errors import OutputError
from auditor.runs import RunFolder
run_path, marker = Path(sys.argv[1]), Path(sys.argv[2])
held = 0
while held < 150:
    try:
        run = RunFolder.open(run_path, fingerprint={"a": "b"})
    except OutputError:
        continue
    marker.open("x").close()
    marker.unlink()
    run.close()
    held += 1
"""


def test_two_processes_never_hold_the_folder_at_once(tmp_path: Path) -> None:
    racers = [spawn(RACE, tmp_path / "run", tmp_path / "marker") for _ in range(2)]
    for racer in racers:
        racer.communicate(timeout=60)
        assert racer.returncode == 0, "the marker was there: both held the folder"


WRITE = """
import sys
from pathlib import Path
import numpy as np
from auditor.events import Notice, SearchStep
from auditor.runs import RunFolder
run = RunFolder.open(Path(sys.argv[1]), fingerprint={"checkpoint": "aa", "images": "bb", "configuration": "cc"})
print("ready", flush=True)
picture = np.random.default_rng(0).random((64, 64, 3), dtype=np.float32)
for i in range(10**9):
    run.record(SearchStep(family="patch", step=i, steps=9, classes=[], loss=[], attack_success_rate=[], cost=[],
                          picture=picture))
    run.write_text("report.html", str(i % 10) * 400_000)
    run.finish_stage("detect", {"text": str(i % 10) * 200_000})
    run.seal()
"""


def wait_for_events(path: Path, count: int, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert time.monotonic() < deadline, f"no {count} events after {seconds} s"
        time.sleep(0.01)


def test_a_kill_at_any_moment_leaves_whole_files_and_a_run_that_resumes(tmp_path: Path) -> None:
    last = 0
    for attempt in range(6):
        writer = spawn(WRITE, tmp_path)
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
        wait_for_events(tmp_path / "events.jsonl", last + 2)
        time.sleep(0.037 * attempt)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        # Given a kill, what can be seen is whole, before anything is repaired...
        for path in (tmp_path / "report.html", tmp_path / "evidence" / "stages" / "detect.json"):
            assert not path.exists() or len(set(path.read_text().strip('{} \n":tex'))) == 1
        numbers = [event.number for event in read_events(tmp_path / "events.jsonl")]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) >= last
        if (tmp_path / "SHA256SUMS").exists():
            assert [problem for problem in verify_seal(tmp_path) if ".tmp" not in problem] == []
        # ...and the run resumes after the last event, with its stage, without leftovers.
        with RunFolder.open(tmp_path, fingerprint=PRINT) as run:
            assert run.record(Notice(message="resumed")).number == len(numbers) + 1
            assert not [entry for entry in tree(tmp_path) if entry.endswith(".tmp")]
            for event in read_events(tmp_path / "events.jsonl"):
                if isinstance(event, SearchStep):
                    assert isinstance(event.picture, str)
                    assert load_picture(tmp_path, event.picture).shape == (64, 64, 3)
            run.seal()
            assert verify_seal(tmp_path) == []
        last = len(numbers) + 1
    assert last > 12


def test_the_module_loads_no_torch_and_needs_no_pickle() -> None:
    code = "import sys, auditor.runs; print('torch' in sys.modules)"
    out, _ = spawn(code).communicate(timeout=60)
    assert out == "False\n"
    for path in (ROOT / "auditor" / "runs").glob("*.py"):
        text = path.read_text().replace("allow_pickle", "")
        assert "import pickle" not in text
