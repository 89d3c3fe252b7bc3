"""History: recorded runs, to open, to compare two by two, and to replay at a chosen speed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.coordinate import Coordinate
from textual.widgets import DataTable, Footer, Static

from auditor.errors import AuditorError
from auditor.report.text import duration
from auditor.tui.history import PastRun, compare, list_runs
from auditor.tui.messages import Listed
from auditor.tui.screens.base import StateScreen
from auditor.tui.state import RunState
from auditor.tui.text import DONE, FAILED, NOTE, STYLES, WARNING, marked, shown
from auditor.tui.widgets.columns import widen
from auditor.tui.widgets.heading import Heading
from auditor.tui.wording import MARKS


class HistoryScreen(StateScreen):
    """A line a run; two that are marked are compared below."""

    NAME = "history"
    HELP_TEXT = (
        "The runs in ./runs and beside the run that is open. Enter opens one as it ended; p plays it from its event "
        "log, which + and - make faster and slower. Space marks a run; two that are marked are compared."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open", id="history.open"),
        Binding("p", "play", "Play", id="history.play"),
        Binding("space", "mark", "Mark to compare", id="history.mark"),
        Binding("escape", "app.leave", "Back", id="history.back"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._runs: list[PastRun] = []
        self._marked: list[Path] = []

    def compose(self) -> ComposeResult:
        yield Heading(5)
        yield DataTable[Text](id="runs", classes="panel", cursor_type="row", zebra_stripes=True)
        with VerticalScroll(id="comparison", classes="panel"):
            yield Static(id="comparison-words")
        yield Footer()

    def on_mount(self) -> None:
        table = self._table
        table.border_title = "Recorded runs"
        for name in ("", "run", "model", "verdict", "outcome", "search", "took", "started"):
            table.add_column(name, key=name)
        self.query_one("#comparison").border_title = "Two runs compared"
        self._compare()
        self._list(self.auditor.run_roots())
        table.focus()

    @property
    def _table(self) -> DataTable[Text]:
        return self.query_one("#runs", DataTable)

    def draw(self, state: RunState) -> None:
        self.query_one(Heading).draw(state)

    @work(thread=True, exclusive=True, exit_on_error=False, group="history")
    def _list(self, roots: Sequence[Path]) -> None:
        self.post_message(Listed(list_runs(roots)))

    def on_listed(self, message: Listed) -> None:
        self._runs = message.runs
        rows = [self._cells(run) for run in self._runs]
        widen(self._table, rows)
        self._table.clear()
        for row in rows:
            self._table.add_row(*row)
        count = len(self._runs)
        self._table.border_subtitle = f"{count} run{'s' if count > 1 else ''}" if count else "no runs yet: an audit leaves one in ./runs"

    def _cells(self, run: PastRun) -> list[Text]:
        sign = Text(f"{self._marked.index(run.folder) + 1}" if run.folder in self._marked else " ", style="bold")
        folder = Text(shown(run.folder.name, 24))
        if run.problem:
            return [sign, folder, marked(WARNING, run.problem, 60), *[Text("")] * 5]
        mark = MARKS[run.mark]
        good = DONE if "verified" in run.follow_up else NOTE
        return [
            sign, folder, Text(shown(run.model, 24)), Text(f"{mark} {run.label}", style=STYLES[mark]),
            marked(good, run.follow_up, 40), Text(run.profile), Text(duration(run.seconds), justify="right"),
            Text(shown(run.started[:16].replace("T", " "), 16)),
        ]  # fmt: skip

    @property
    def _chosen(self) -> PastRun | None:
        row = self._table.cursor_row
        return self._runs[row] if 0 <= row < len(self._runs) else None

    @on(DataTable.RowSelected)
    def action_open(self) -> None:
        """Open the run under the cursor as it ended."""
        if self._chosen is not None:
            self.auditor.open_run(self._chosen.folder)

    def action_play(self) -> None:
        """Play the run under the cursor from its first event."""
        if self._chosen is not None:
            self.auditor.play_run(self._chosen.folder)

    def action_mark(self) -> None:
        """Mark the run under the cursor, or take its mark away; of three marked runs the last two stay."""
        chosen = self._chosen
        if chosen is None:
            return
        is_marked = chosen.folder in self._marked
        self._marked = [folder for folder in self._marked if folder != chosen.folder]
        self._marked = self._marked if is_marked else [*self._marked, chosen.folder][-2:]
        for row, run in enumerate(self._runs):
            self._table.update_cell_at(Coordinate(row, 0), self._cells(run)[0])
        self._compare()

    def _compare(self) -> None:
        words = self.query_one("#comparison-words", Static)
        if len(self._marked) < 2:
            words.update(Text("Mark two runs with space to see them side by side.", style="dim"))
            return
        try:
            words.update(comparison_table(self._marked))
        except AuditorError as error:
            words.update(marked(FAILED, error.what))


def comparison_table(folders: Sequence[Path]) -> Table:
    """What was found in each run, side by side; rows that differ are marked by a sign."""
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("")
    table.add_column("", style="dim")
    for number, folder in enumerate(folders, start=1):
        table.add_column(Text(f"{number} {shown(folder.name, 30)}"), ratio=1)
    for name, values in compare(folders):
        differs = len(set(values)) > 1
        table.add_row(Text(WARNING if differs else " ", style=STYLES[WARNING]), Text(name),
                      *(Text(shown(value, 60), style="bold" if differs else "") for value in values))  # fmt: skip
    return table
