"""The classes while triggers toward each of them are searched: the most suspicious first, or by a column."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.coordinate import Coordinate
from textual.widgets import DataTable

from auditor.domain import family_words
from auditor.report.text import NOTHING, number, percent
from auditor.tui.standings import Standing
from auditor.tui.state import RunState
from auditor.tui.text import FAILED, STYLES, WARNING, cut, shown
from auditor.tui.widgets.columns import widen

MOST_ROWS = 200
WIDE_ENOUGH = 60
Key = Callable[[Standing], Any]


def _least(value: float | None) -> float:
    return math.inf if value is None else value


COLUMNS: dict[str, Key | None] = {
    "class": lambda s: s.target_class,
    "says": None,
    "cost": lambda s: _least(s.cost),
    "flips": lambda s: -s.flip_share,
    "of median": lambda s: _least(s.relative),
    "outlier": lambda s: -(-math.inf if s.anomaly_index is None else s.anomaly_index),
    "family": lambda s: s.family,
}


class ClassTable(DataTable[Text]):
    """One row a class: what it costs to force, how many images flip, and a word where it stands out.

    Cells are written only where they changed: the table is drawn many times a second.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("t", "sort", "Sort", id="classes.sort")]

    def on_mount(self) -> None:
        self.cursor_type = "none"
        self.zebra_stripes = True
        self.border_title = "Classes, most suspicious first"
        self._order = "says"
        self._written: list[list[Text]] = []
        self._state: RunState | None = None
        for name in COLUMNS:
            self.add_column(name, key=name)

    def action_sort(self) -> None:
        """Sort by the next column, after the last by suspicion again."""
        names = list(COLUMNS)
        self.sort_by(names[(names.index(self._order) + 1) % len(names)])

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        self.sort_by(str(event.column_key.value))

    def sort_by(self, name: str) -> None:
        """Order the rows by a column; by "says", the most suspicious come first."""
        self._order = name
        self.border_title = "Classes, most suspicious first" if COLUMNS[name] is None else f"Classes by {name}"
        if self._state is not None:
            self.draw(self._state)

    def draw(self, state: RunState) -> None:
        """Bring the rows up to the state."""
        self._state = state
        ranked = state.standings.ranked()
        key = COLUMNS[self._order]
        rows = ranked if key is None else sorted(ranked, key=key)
        targets = set(state.verdict.target_classes) if state.verdict else set()
        room = 24 if self.size.width >= WIDE_ENOUGH else 12
        names = state.names
        cells = [_cells(standing, names(standing.target_class), says(standing, state, targets), room)
                 for standing in rows[:MOST_ROWS]]  # fmt: skip
        widen(self, cells)
        if len(cells) != len(self._written):
            self.clear()
            for row in cells:
                self.add_row(*row)
        else:
            self._amend(cells)
        self._written = cells
        self.border_subtitle = f"{len(ranked)} classes" if ranked else "no class measured yet"

    def _amend(self, cells: list[list[Text]]) -> None:
        for y, (row, before) in enumerate(zip(cells, self._written, strict=True)):
            for x, (cell, old) in enumerate(zip(row, before, strict=True)):
                if cell.plain != old.plain or cell.style != old.style:
                    self.update_cell_at(Coordinate(y, x), cell, update_width=len(cell.plain) > len(old.plain))


def _cells(standing: Standing, name: str, word: Text, room: int) -> list[Text]:
    relative = NOTHING if standing.relative is None else f"{standing.relative:.2f}x"
    style = "bold" if word.plain.strip() else ""
    return [
        Text(cut(shown(name, 60), room).rstrip(), style=style),
        word,
        Text(number(standing.cost), style=style, justify="right"),
        Text(percent(standing.flip_share), style=style, justify="right"),
        Text(relative, style=style, justify="right"),
        Text(number(standing.anomaly_index), style=style, justify="right"),
        Text(shown(family_words(standing.family), 15), style=style),
    ]


def says(standing: Standing, state: RunState, targets: set[int]) -> Text:
    """The sign and the word for a class: a target of the backdoor, standing out, or nothing."""
    if standing.target_class in targets:
        return Text(f"{FAILED} target", style=STYLES[FAILED])
    if standing.stands_out:
        return Text(f"{WARNING} cheap" if state.verdict else f"{WARNING} stands out", style=STYLES[WARNING])
    return Text("")
