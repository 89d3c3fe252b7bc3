"""The interface in a real terminal, on the sample, with the keyboard alone."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
ROOT = Path(__file__).parents[2]
ESCAPES = re.compile(r"\x1b\[[0-9;?<>=$]*[a-zA-Z~]|\x1b[()][A-Z0-9]|\x1b[=>P\]][^\x1b\x07]*(\x07|\x1b\\)?")


class Terminal:
    """`auditor tui` on a pseudo-terminal of 120 by 36 cells."""

    def __init__(self, folder: Path) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), "COLUMNS": "", "LINES": ""}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "auditor", "tui"], cwd=folder, stdin=slave, stdout=slave, stderr=slave,
            env={name: value for name, value in environment.items() if value}, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.said = ""

    def press(self, keys: str) -> None:
        self.said = ""
        os.write(self._master, keys.encode())

    def wait_for(self, words: str, timeout_s: float) -> None:
        """Read until the words were drawn. Raises AssertionError after the time."""
        deadline = time.monotonic() + timeout_s
        while words not in ESCAPES.sub("", self.said):
            assert time.monotonic() < deadline, f"{words!r} was never drawn"
            if select.select([self._master], [], [], 0.2)[0]:
                with suppress(OSError):
                    self.said += os.read(self._master, 65536).decode("utf-8", "replace")

    def read_until_exit(self, timeout_s: float) -> int:
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None and time.monotonic() < deadline:
            if select.select([self._master], [], [], 0.1)[0]:
                with suppress(OSError):
                    self.said += os.read(self._master, 65536).decode("utf-8", "replace")
        return self.process.wait(timeout=1)

    def close(self) -> None:
        """As when a terminal window is closed."""
        with suppress(OSError):
            os.close(self._master)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    opened = Terminal(tmp_path)
    yield opened
    opened.close()
    if opened.process.poll() is None:
        opened.process.kill()


def test_the_sample_goes_from_open_to_a_sanitized_model_in_three_keys(terminal: Terminal, tmp_path: Path) -> None:
    terminal.wait_for("Use the sample", 60)
    terminal.press("\r")
    terminal.wait_for("Ready to start", 120)
    terminal.press("\r")
    terminal.wait_for("Backdoor found", 600)
    time.sleep(1)
    terminal.press("\r")
    terminal.wait_for("Sanitized and verified", 600)
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
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert resumed.returncode == 0, resumed.stderr
