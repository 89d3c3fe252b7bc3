"""The line above every screen: where the person is in the five steps, and what is under audit."""

from __future__ import annotations

from pathlib import Path

from rich.cells import cell_len
from rich.text import Text
from textual.widgets import Static

from auditor.tui.state import RunState
from auditor.tui.text import DONE, cut, shown

STEPS = ("open", "audit", "finding", "unlearn", "result")


class Heading(Static):
    """`auditor  1 open  2 audit ...` with the current step marked, and the model's name at the right."""

    DEFAULT_CSS = "Heading { height: 1; background: $panel; padding: 0 1; }"

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step = step

    def on_mount(self) -> None:
        self.update(self._steps())

    def draw(self, state: RunState) -> None:
        steps = self._steps()
        name = shown(Path(state.request.model).name or "model", 40)
        what = f"{'replay of ' if state.is_replay else ''}{name}"
        room = self.content_size.width - steps.cell_len - 2
        if room >= 8:
            what = cut(what, room).rstrip()
            steps.append(" " * (room + 2 - cell_len(what)) + what, "dim")
        self.update(steps)

    def _steps(self) -> Text:
        said = Text("auditor ", style="bold")
        for index, name in enumerate(STEPS):
            mark = DONE if index < self._step else str(index + 1)
            style = "bold reverse" if index == self._step else ("" if index < self._step else "dim")
            said.append(" ")
            said.append(f" {mark} {name} ", style)
        return said
