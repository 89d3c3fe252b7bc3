"""The line above every screen: where the person is among the screens, and what is under audit."""

from __future__ import annotations

from pathlib import Path

from rich.cells import cell_len
from rich.text import Text
from textual.events import Click

from auditor.tui.state import RunState
from auditor.tui.text import cut, shown
from auditor.tui.widgets.steady import Steady

STEPS = ("open", "audit", "finding", "unlearn", "verify", "history")


class Heading(Steady):
    """`auditor  1 open  2 audit ...` with the current screen marked, and the model's name at the right.

    A click on a screen's name goes there.
    """

    DEFAULT_CSS = "Heading { height: 1; background: $panel; padding: 0 1; }"

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step = step

    def on_mount(self) -> None:
        self.say(self._steps())

    def draw(self, state: RunState) -> None:
        steps = self._steps()
        name = shown(Path(state.request.model).name or "model", 40)
        what = f"{'replay of ' if state.is_replay else ''}{name}"
        room = self.content_size.width - steps.cell_len - 2
        if room >= 8:
            what = cut(what, room).rstrip()
            steps.append(" " * (room + 2 - cell_len(what)) + what, "dim")
        self.say(steps)

    def _steps(self) -> Text:
        said = Text("auditor ", style="bold")
        for index, name in enumerate(STEPS):
            can_go = self.app.check_action("show", (name,))
            style = "bold reverse" if index == self._step else "" if can_go else "dim"
            said.append(f" {index + 1} {name} ", style)
        return said

    def on_click(self, event: Click) -> None:
        """Go to the screen whose name was clicked."""
        at = event.x - 1 - len("auditor ")
        for name in STEPS:
            at -= len(name) + 4
            if at < 0:
                if self.app.check_action("show", (name,)):
                    self.run_worker(self.app.run_action(f"app.show('{name}')"))
                return
