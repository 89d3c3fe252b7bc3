"""The classes, most suspicious first, while triggers toward each of them are searched."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import DataTable

from auditor.domain import family_words
from auditor.report.text import NOTHING, number, percent
from auditor.tui.standings import Standing
from auditor.tui.state import RunState
from auditor.tui.text import FAILED, STYLES, WARNING, cut, shown

MOST_ROWS = 200
WIDE_ENOUGH = 60


class ClassTable(DataTable[Text]):
    """One row a class: what it costs to force, how many images flip, and a word where it stands out."""

    BORDER_TITLE = "Classes, most suspicious first"

    def on_mount(self) -> None:
        self.cursor_type = "none"
        self.zebra_stripes = True
        for name in ("class", "says", "cost", "flips", "of median", "family"):
            self.add_column(name, key=name)

    def draw(self, state: RunState) -> None:
        """Fill the table again, keeping the scroll position."""
        ranked = state.standings.ranked()
        targets = set(state.verdict.target_classes) if state.verdict else set()
        at = self.scroll_offset
        self.clear()
        room = 24 if self.size.width >= WIDE_ENOUGH else 12
        for standing in ranked[:MOST_ROWS]:
            self.add_row(*_cells(standing, state, targets, room))
        self.scroll_to(at.x, at.y, animate=False)
        self.border_subtitle = f"{len(ranked)} classes" if ranked else "no class measured yet"


def _cells(standing: Standing, state: RunState, targets: set[int], room: int) -> list[Text]:
    relative = NOTHING if standing.relative is None else f"{standing.relative:.2f}x"
    word = says(standing, state, targets)
    style = "bold" if word.plain.strip() else ""
    return [
        Text(cut(shown(state.names(standing.target_class), 60), room).rstrip(), style=style),
        word,
        Text(number(standing.cost), style=style, justify="right"),
        Text(percent(standing.flip_share), style=style, justify="right"),
        Text(relative, style=style, justify="right"),
        Text(shown(family_words(standing.family), 15), style=style),
    ]


def says(standing: Standing, state: RunState, targets: set[int]) -> Text:
    """The sign and the word for a class: a target of the backdoor, standing out, or nothing."""
    if standing.target_class in targets:
        return Text(f"{FAILED} target", style=STYLES[FAILED])
    if standing.stands_out:
        return Text(f"{WARNING} cheap" if state.verdict else f"{WARNING} stands out", style=STYLES[WARNING])
    return Text("")
