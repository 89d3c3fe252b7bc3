"""What forcing each class costs, as bars: the backdoor's target has the short one."""

from __future__ import annotations

import math

from rich.text import Text
from textual.widgets import Static

from auditor.domain import family_words
from auditor.report.text import number
from auditor.tui.standings import Standing
from auditor.tui.state import RunState
from auditor.tui.text import STYLES, bar, cut, shown
from auditor.tui.widgets.class_table import says

MOST_BARS = 60
_NAME, _NUMBER, _WORD = 16, 8, 13


class CostBars(Static):
    """One bar a class, in the family of the strongest trigger, the cheapest first."""

    TITLE = "What it costs to force each class"

    def draw(self, state: RunState) -> None:
        family = family_to_show(state)
        standings = state.standings.of_family(family)
        if not standings:
            self.update(Text("no class was measured", style="dim"))
            return
        targets = set(state.verdict.target_classes) if state.verdict else set()
        most = max((s.cost for s in standings if s.cost is not None), default=1.0)
        room = max(6, self.content_size.width - _NAME - _NUMBER - _WORD - 3)
        cheapest = sorted(standings, key=lambda s: math.inf if s.cost is None else s.cost)[:MOST_BARS]
        rows = [_row(standing, state, targets, most, room) for standing in cheapest]
        head = Text(f"{shown(family_words(family), 20)} trigger; shorter is more suspicious", style="dim")
        self.update(Text("\n").join([head, *rows]))


def family_to_show(state: RunState) -> str:
    """The family of the first confirmed trigger, else of the most suspicious class, else none."""
    for trigger in state.result.triggers if state.result else []:
        if trigger.confirmed and state.standings.of_family(trigger.family):
            return trigger.family
    ranked = state.standings.ranked()
    return ranked[0].family if ranked else ""


def _row(standing: Standing, state: RunState, targets: set[int], most: float, room: int) -> Text:
    name = shown(state.names.bare(standing.target_class), 60)
    word = says(standing, state, targets)
    if standing.cost is None:
        line, value = "·" * room, "none"
    else:
        line, value = bar(standing.cost / most if most > 0 else 0.0, room), number(standing.cost)
    style = word.style if word.plain else STYLES["·"]
    return Text.assemble(cut(name, _NAME - 1) + " ", (line, style), f" {value:>{_NUMBER}} ", word)
