"""Progress on stderr: live on a terminal, one line a stage elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from auditor.cli import streams
from auditor.cli.board import Board, describe, is_step
from auditor.events import Event, Notice, StageFinished, StageStarted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

HEARTBEAT_S = 60.0
REFRESH_PER_SECOND = 4


class Progress:
    """Shows nothing; the others show more. A context manager that gives the terminal back."""

    def show(self, event: Event) -> None:
        """Take note of an event."""

    def say(self, line: str) -> None:
        """Show a line now, whatever else is on screen."""
        streams.print_error(line)

    def close(self) -> None:
        """Stop drawing; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Lines(Progress):
    """A line when a stage starts and ends, and once a minute; notices and steps when verbose."""

    def __init__(self, verbosity: int) -> None:
        self._verbosity = verbosity
        self._board = Board()
        self._started = self._said = time.monotonic()

    def show(self, event: Event) -> None:
        self._board.update(event)
        line = describe(event)
        if line is not None and self._is_due(event):
            self._said = time.monotonic()
            streams.print_error(f"[{self._said - self._started:7.1f} s] {line}")

    def _is_due(self, event: Event) -> bool:
        if is_step(event):
            return self._verbosity > 0 or time.monotonic() - self._said >= HEARTBEAT_S
        return _deserves_a_line(event, self._verbosity)


class Screen(Progress):
    """Finished stages scroll by; below them the stage in work, its bars and the best trigger so far."""

    def __init__(self, console: Console, verbosity: int) -> None:
        from rich.live import Live

        self._verbosity = verbosity
        self._board = Board()
        self._live: Live | None = Live(
            self._board, console=console, transient=True, refresh_per_second=REFRESH_PER_SECOND,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def show(self, event: Event) -> None:
        self._board.update(event)
        if is_step(event) or isinstance(event, StageStarted) or not _deserves_a_line(event, self._verbosity):
            return
        line = describe(event)
        if line is not None:
            mark = "\N{CHECK MARK} " if isinstance(event, StageFinished) else "  "
            self.say(mark + line)

    def say(self, line: str) -> None:
        from rich.text import Text

        if self._live is None:
            super().say(line)
            return
        try:
            self._live.console.print(Text(line), soft_wrap=True)
        except OSError:
            self.close()

    def close(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            try:
                live.stop()
            except OSError:
                return


def _deserves_a_line(event: Event, verbosity: int) -> bool:
    match event:
        case StageStarted() | StageFinished():
            return True
        case Notice(level="info"):
            return verbosity > 0
        case Notice():
            return True
    return verbosity > 0


def choose(*, quiet: bool, verbosity: int) -> Progress:
    """The progress that fits stderr and the flags."""
    if quiet or sys.stderr is None:
        return Progress()
    if not sys.stderr.isatty():
        return Lines(verbosity)
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    if not console.is_terminal or console.is_dumb_terminal or console.encoding.lower() not in ("utf-8", "utf8"):
        return Lines(verbosity)
    return Screen(console, verbosity)
