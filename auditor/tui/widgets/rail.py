"""The stages of a verb, with a sign and a duration each."""

from __future__ import annotations

from rich.text import Text

from auditor.tui.stages import Stage
from auditor.tui.state import RunState
from auditor.tui.text import DONE, FAILED, RUNNING, STYLES, clock, cut, shown
from auditor.tui.widgets.steady import Steady


class StageRail(Steady):
    """Draws `state.stages`; a stage that was cut short says so."""

    BORDER_TITLE = "Stages"

    def draw(self, state: RunState) -> None:
        width = max(12, self.content_size.width)
        if not len(state.stages):
            self.say(Text("starting: loading torch" if state.is_running else "no stages", style="dim"))
            return
        self.say(Text("\n").join(_line(stage, state.clock.now_s, width) for stage in state.stages))


def _line(stage: Stage, now_s: float, width: int) -> Text:
    if stage.is_done:
        mark, after = DONE, clock(stage.spent_s(now_s))
    elif stage.seconds is None:
        mark, after = RUNNING, clock(stage.spent_s(now_s))
    else:
        mark, after = FAILED, "cut short"
    room = max(4, width - len(after) - 3)
    title = cut(shown(stage.title or stage.name, 80), room)
    style = "bold" if mark == RUNNING else ""
    return Text.assemble((mark, STYLES.get(mark, "")), " ", (title, style), " ", (after, "dim"))
