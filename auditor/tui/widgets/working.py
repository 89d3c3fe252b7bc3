"""The line above the footer: what is being done, how far it is, and how long it will still take."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import ProgressBar

from auditor.tui.state import RunState
from auditor.tui.text import clock, shown
from auditor.tui.widgets.steady import Steady

WIDE_ENOUGH = 100


class Working(Horizontal):
    """The running stage in words, and a bar for the verb as a whole."""

    DEFAULT_CSS = """
    Working { height: 1; padding: 0 2; background: $panel; }
    Working > Steady { width: 1fr; }
    Working > ProgressBar { width: 28; }
    Working Bar { width: 1fr; }
    """

    def compose(self) -> ComposeResult:
        yield Steady()
        yield ProgressBar(show_eta=False)

    def draw(self, state: RunState, tempo_words: str = "") -> None:
        """Show the stage, the step, about how long the verb still takes, and how far it is as a whole."""
        running = state.stages.running
        idle = "ended" if not state.is_running else "working" if len(state.stages) else "starting"
        progress, tempo = state.progress, f"replay {tempo_words}  " if tempo_words else ""
        said = shown(running.title if running else idle, 60)
        if progress.steps:
            step = f"{shown(progress.label, 40)} {progress.step}/{progress.steps}"
            said = f"{said} \N{MIDDLE DOT} {step}" if self.size.width >= WIDE_ENOUGH else step
        left_s = state.left_s
        after = f"  about {clock(left_s)} left" if left_s is not None and not state.is_replay else ""
        self.query_one(Steady).say(Text.assemble((tempo, "bold"), said, (after, "bold")))
        bar = self.query_one(ProgressBar)
        bar.display = state.is_running
        bar.update(total=100, progress=round(100 * state.pace.share))
