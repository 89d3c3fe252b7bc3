"""The line above the footer: what is being done, and how far it is."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import ProgressBar, Static

from auditor.tui.state import RunState
from auditor.tui.text import shown

WIDE_ENOUGH = 100


class Working(Horizontal):
    """The running stage in words, and a bar where the number of steps is known."""

    DEFAULT_CSS = """
    Working { height: 1; padding: 0 2; background: $panel; }
    Working > Static { width: 1fr; }
    Working > ProgressBar { width: 36; }
    Working Bar { width: 1fr; }
    """

    def compose(self) -> ComposeResult:
        yield Static()
        yield ProgressBar(show_eta=False)

    def draw(self, state: RunState) -> None:
        """Show the stage and the step; the bar runs to and fro where nothing is known."""
        running = state.stages.running
        idle = "ended" if not state.is_running else "working" if len(state.stages) else "starting"
        progress = state.progress
        said = shown(running.title if running else idle, 60)
        if progress.steps:
            step = f"{shown(progress.label, 40)} {progress.step}/{progress.steps}"
            said = f"{said} \N{MIDDLE DOT} {step}" if self.size.width >= WIDE_ENOUGH else step
        self.query_one(Static).update(Text(said))
        bar = self.query_one(ProgressBar)
        bar.display = state.is_running
        bar.update(total=progress.steps or None, progress=progress.step)
