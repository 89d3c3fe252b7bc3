"""Opens the interface on what a person names, where there is a terminal for it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from auditor.errors import AuditorError, printable
from auditor.tui.app import AuditorApp
from auditor.tui.config import Config, read_config
from auditor.tui.leaving import run_and_leave
from auditor.tui.replay import is_run, replay


def run(model_or_run: str | None = None) -> int:
    """Open the interface, on a checkpoint or a finished run if given; the process exit code.

    Where there is no terminal to draw on, says what to use instead and returns 2.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") in ("", "dumb"):
        sys.stderr.write("The interface needs a terminal that can draw.\n"
                         "Use `auditor audit MODEL --clean IMAGES -o RUN` instead.\n")  # fmt: skip
        return 2
    return asyncio.run(run_and_leave(make_app(model_or_run, read_config())))


def make_app(model_or_run: str | None, config: Config | None = None) -> AuditorApp:
    """The application on a checkpoint, a run folder or nothing; what cannot be opened is said on the first screen."""
    if model_or_run is None or not Path(model_or_run).is_dir():
        return AuditorApp(model=model_or_run or "", config=config)
    folder = Path(model_or_run)
    if not is_run(folder):
        return AuditorApp(config=config, message=f"{printable(folder)} is a folder without a finished run (no result.json in "
                          "it). Give a checkpoint, or the folder that an audit wrote.")  # fmt: skip
    try:
        return AuditorApp(state=replay(folder), config=config)
    except AuditorError as error:
        return AuditorApp(message=f"{error.what} {error.next_step}", config=config)
