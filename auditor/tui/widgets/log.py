"""The log of a run, following its end."""

from __future__ import annotations

from textual.events import Resize
from textual.widgets import RichLog

from auditor.tui.state import LONGEST_LOG, RunState
from auditor.tui.text import marked


class RunLog(RichLog):
    """Writes the lines of `state.log` that it has not written yet."""

    BORDER_TITLE = "Log"

    def on_mount(self) -> None:
        self.wrap, self.markup, self.highlight, self.min_width = True, False, False, 10
        self.max_lines = LONGEST_LOG
        self._written = 0
        self._state: RunState | None = None

    def draw(self, state: RunState) -> None:
        self._state = state
        missing = min(state.logged - self._written, len(state.log))
        for mark, line in list(state.log)[len(state.log) - missing :]:
            self.write(marked(mark, line))
        self._written = state.logged

    def on_resize(self, event: Resize) -> None:
        """Lines were wrapped for the width before: write them again."""
        self.clear()
        self._written = 0
        if self._state is not None:
            self.call_after_refresh(self.draw, self._state)
