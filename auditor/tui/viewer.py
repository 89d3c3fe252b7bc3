"""Opens a file with the desktop's own viewer, where there is one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path


def find_viewer() -> str | None:
    """The program that opens files here; None without one or without a display."""
    if sys.platform == "darwin":
        return shutil.which("open")
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return None
    return shutil.which("xdg-open")


def open_file(path: Path) -> bool:
    """Open the file outside the terminal; False when nothing here can."""
    program = find_viewer()
    if program is None:
        return False
    try:
        subprocess.Popen(
            [program, str(path.absolute())], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    except OSError:
        return False
    return True
