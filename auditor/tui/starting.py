"""Opens the interface on what a person names, where there is a terminal for it."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

from auditor.errors import AuditorError, printable
from auditor.tui.app import AuditorApp
from auditor.tui.config import Config, read_config
from auditor.tui.leaving import run_and_leave
from auditor.tui.replay import is_run, replay
from auditor.tui.widgets.halfblock import HalfBlockImage, PictureWidget

NO_LIBRARY = 'pictures = "terminal" needs a library: pip install \'auditor[graphics]\'. They are drawn in characters.'
NO_GRAPHICS = "This terminal says that it has no graphics: pictures are drawn in characters."


def run(model_or_run: str | None = None) -> int:
    """Open the interface, on a checkpoint or a finished run if given; the process exit code.

    Where there is no terminal to draw on, says what to use instead and returns 2.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") in ("", "dumb"):
        sys.stderr.write("The interface needs a terminal that can draw.\n"
                         "Use `auditor audit MODEL --clean IMAGES -o RUN` instead.\n")  # fmt: skip
        return 2
    picture, config = choose_picture(read_config())
    return asyncio.run(run_and_leave(make_app(model_or_run, config, picture)))


def choose_picture(config: Config) -> tuple[type[PictureWidget], Config]:
    """The widget for pictures: the terminal's graphics where asked for, and why not where that cannot be."""
    if config.pictures != "terminal" or os.environ.get("NO_COLOR"):
        return HalfBlockImage, config
    try:
        from auditor.tui.widgets import terminal_picture
    except ImportError:
        return HalfBlockImage, replace(config, problem=config.problem or NO_LIBRARY)
    if not terminal_picture.IS_SUPPORTED:
        return HalfBlockImage, replace(config, problem=config.problem or NO_GRAPHICS)
    return terminal_picture.TerminalPicture, config


def make_app(
    model_or_run: str | None, config: Config | None = None, picture: type[PictureWidget] = HalfBlockImage
) -> AuditorApp:
    """The application on a checkpoint, a run folder or nothing; what cannot be opened is said on the first screen."""
    folder = Path(model_or_run or "")
    if model_or_run is None or not folder.is_dir():
        return AuditorApp(model=model_or_run or "", config=config, picture=picture)
    message = (f"{printable(folder)} is a folder without a finished run (no result.json in it). "
               "Give a checkpoint, or the folder that an audit wrote.")  # fmt: skip
    if is_run(folder):
        try:
            return AuditorApp(state=replay(folder), config=config, picture=picture)
        except AuditorError as error:
            message = f"{error.what} {error.next_step}"
    return AuditorApp(message=message, config=config, picture=picture)
