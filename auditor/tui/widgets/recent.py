"""The recorded runs that are near, the latest first."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.widgets import OptionList

from auditor.tui.history import PastRun, list_runs
from auditor.tui.messages import Listed, RunChosen
from auditor.tui.text import STYLES, WARNING, shown
from auditor.tui.wording import MARKS


class RecentRuns(OptionList):
    """Hidden while there are none; the screen hears of those found, and of the one that is chosen."""

    BORDER_TITLE = "Recent runs"
    MOST: ClassVar[int] = 8
    _runs: list[PastRun]

    def on_mount(self) -> None:
        self._runs = []
        self.display = False
        self._list([Path("runs")])

    @work(thread=True, exclusive=True, exit_on_error=False, group="recent")
    def _list(self, roots: list[Path]) -> None:
        self.post_message(Listed(list_runs(roots)))

    def on_listed(self, message: Listed) -> None:
        self._runs = message.runs[: self.MOST]
        self.display = bool(self._runs)
        self.clear_options()
        self.add_options([_line(run) for run in self._runs])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(RunChosen(self._runs[event.option_index].folder))


def _line(run: PastRun) -> Text:
    if run.problem:
        return Text.assemble((f"{WARNING} ", STYLES[WARNING]), shown(run.folder.name, 40))
    mark = MARKS[run.mark]
    return Text.assemble((mark, STYLES[mark]), f" {shown(run.folder.name, 40)}  ", (run.label, "dim"))
