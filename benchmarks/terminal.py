"""`auditor tui` on a pseudo-terminal: keys go in, and the screen is rebuilt from what is drawn."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
SIZE = (36, 120)
INTERFACE = ("-m", "auditor", "tui")
_PIECES = re.compile(
    r"\x1b\[(?P<row>\d*);?(?P<column>\d*)H|\x1b\[[0-9;:?<>=$ ]*[a-zA-Z~]|\x1b[P\]_][^\x1b\x07]*(?:\x07|\x1b\\)"
    r"|\x1b[()][A-Z0-9]|\x1b[=>78cM]|(?P<control>[\x00-\x1f])|(?P<text>[^\x00-\x1f]+)"
)
_UNFINISHED = re.compile(r"\x1b(?:\[[0-9;:?<>=$ ]*|[()])?$|\x1b[P\]_][^\x1b\x07]*\x1b?$")


class NeverDrawnError(AssertionError):
    """The words that were waited for did not come; the message shows the last screen."""


class Screen:
    """What a terminal shows, in characters: Textual places the cursor, and writes a line's cells in full."""

    def __init__(self, rows: int, columns: int) -> None:
        self._cells = [[" "] * columns for _ in range(rows)]
        self._row = self._column = 0
        self._rest = ""

    @property
    def text(self) -> str:
        return "\n".join("".join(row).rstrip() for row in self._cells)

    def feed(self, said: str) -> None:
        """Take in what was drawn; a sequence that is cut waits for its end."""
        said = self._rest + said
        cut = _UNFINISHED.search(said)
        self._rest = said[cut.start() :] if cut else ""
        for piece in _PIECES.finditer(said, 0, len(said) - len(self._rest)):
            if piece["text"]:
                self._write(piece["text"])
            elif piece["row"] is not None:
                self._row, self._column = int(piece["row"] or 1) - 1, int(piece["column"] or 1) - 1
            elif piece["control"] == "\r":
                self._column = 0
            elif piece["control"] == "\n":
                self._row += 1

    def _write(self, text: str) -> None:
        if 0 <= self._row < len(self._cells):
            row = self._cells[self._row]
            fitting = text[: max(0, len(row) - self._column)]
            row[self._column : self._column + len(fitting)] = fitting
        self._column += len(text)


class Terminal:
    """The interface in a process of its own; `close` is what a closed window does."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None, size: tuple[int, int] = SIZE,
                 command: Sequence[str] = INTERFACE) -> None:  # fmt: skip
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(
            [sys.executable, *command], cwd=folder, stdin=slave, stdout=slave, stderr=slave,
            env={**inherited, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **(environment or {})},
            start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self._screen = Screen(*size)
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    @property
    def text(self) -> str:
        """The screen as it is now."""
        return self._screen.text

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def read(self, seconds: float) -> None:
        """Take in what is drawn within a time; returns at once when something was."""
        if select.select([self._master], [], [], seconds)[0]:
            with suppress(OSError):  # the other end is closed
                self._screen.feed(self._decode(os.read(self._master, 2**20)))

    def drain(self, seconds: float) -> None:
        """Take what is drawn without looking: the screen is not known after it."""
        while select.select([self._master], [], [], seconds)[0] and os.read(self._master, 2**20):
            seconds = 0.0

    def wait_for(self, words: str, timeout_s: float, *, ends: tuple[str, ...] = ()) -> bool:
        """Read until the screen shows the words, True, or one of the ends, False.

        Raises NeverDrawnError after the time, and at once when the interface has ended.
        """
        deadline = time.monotonic() + timeout_s
        while words not in self.text:
            if any(end in self.text for end in ends):
                return False
            if time.monotonic() >= deadline or self.process.poll() is not None:
                why = "in time" if self.process.returncode is None else "before the interface ended"
                raise NeverDrawnError(f"{words!r} was not drawn {why}. The last screen:\n{self.text}")
            self.read(0.1)
        return True

    def read_until_exit(self, timeout_s: float) -> int:
        """The exit code. Raises TimeoutExpired."""
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read(0.1)
        return self.process.wait(timeout=1)

    def close(self) -> None:
        with suppress(OSError):
            os.close(self._master)

    def end(self) -> None:
        """Close, and end the process where it has not ended by itself."""
        self.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
