"""The interface in a real terminal, on the sample, with the keyboard alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.terminal import ROOT, Terminal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    opened = Terminal(tmp_path)
    yield opened
    opened.end()


def test_the_sample_goes_from_open_to_a_sanitized_model_in_three_keys(terminal: Terminal, tmp_path: Path) -> None:
    terminal.wait_for("Use the sample", 60)
    terminal.press("\r")
    terminal.wait_for("Ready to start", 120)
    terminal.press("\r")
    terminal.wait_for("Backdoor found", 600)
    time.sleep(1)
    terminal.press("\r")
    terminal.wait_for("Sanitized and verified", 1200)
    run = tmp_path / "runs" / "suspect"
    assert {"sanitized.onnx", "report.html", "SHA256SUMS", "result.json"} <= {path.name for path in run.iterdir()}
    assert json.loads((run / "result.json").read_text())["run"]["exit_code"] == 0
    terminal.press("\x11")
    assert terminal.read_until_exit(10) == 0


def test_a_closed_terminal_leaves_a_run_that_resumes(terminal: Terminal, tmp_path: Path) -> None:
    terminal.wait_for("Use the sample", 60)
    terminal.press("\r")
    terminal.wait_for("Ready to start", 120)
    terminal.press("\r")
    terminal.wait_for("Searching for triggers", 120)
    time.sleep(5)
    # When
    terminal.close()
    terminal.process.wait(timeout=20)
    # Then: the verb's process ends by itself, and lets go of the folder
    run = tmp_path / "runs" / "suspect"
    deadline = time.monotonic() + 30
    while (run / ".lock").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not (run / ".lock").exists()
    resumed = subprocess.run(
        [sys.executable, "-m", "auditor", "audit", "samples/suspect.pt", "--clean", "samples/clean", "-o", "runs/suspect"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=1500, check=False,
    )  # fmt: skip
    assert resumed.returncode == 0, resumed.stderr
