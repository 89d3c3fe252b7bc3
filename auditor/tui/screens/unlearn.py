"""Unlearn: the backdoor leaving the model, and the verification that follows."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Footer, Static

from auditor.report.text import NOTHING, number, percent
from auditor.tui.screens.base import StateScreen
from auditor.tui.state import Attempt, RunState
from auditor.tui.text import DONE, FAILED, RUNNING, marked, shown
from auditor.tui.widgets.gauges import Gauge
from auditor.tui.widgets.halfblock import HalfBlockImage, heat_colours
from auditor.tui.widgets.heading import Heading
from auditor.tui.widgets.log import RunLog
from auditor.tui.widgets.problem import Problem
from auditor.tui.widgets.rail import StageRail
from auditor.tui.widgets.working import Working

MOST_MAPS = 8


class UnlearnScreen(StateScreen):
    """The stages, what each method has tried, live rates and attention."""

    NAME = "unlearn"
    HELP_TEXT = (
        "Accuracy should stay, the share of images the trigger flips should fall to nothing, and attention should "
        "leave the trigger. These are proxies on the images at work; the claim is measured afterwards, on images "
        "that no stage before has touched."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "app.cancel", "Cancel"),
        Binding("s", "app.stop", "Stop, keep best so far"),
        Binding("r", "app.resume", "Resume"),
        Binding("escape", "app.show('finding')", "Back"),
    ]

    def compose(self) -> ComposeResult:
        yield Heading(3)
        yield Problem(classes="panel")
        with Horizontal(id="work"):
            with Vertical(id="side"):
                yield StageRail(classes="panel")
                with Vertical(id="attempts", classes="panel"):
                    yield Static(id="attempt-words")
            with Vertical(id="main"):
                with Vertical(id="rates", classes="panel"):
                    yield Gauge("clean accuracy", id="accuracy")
                    yield Gauge("trigger flips (proxy)", id="flips")
                    yield Gauge("attention on trigger", id="tar")
                with Vertical(id="heat", classes="panel"):
                    yield HalfBlockImage(empty="heat-maps follow", is_exact=False)
                yield RunLog(classes="panel")
        yield Working()
        yield Footer()

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one("#attempts").border_title = "Attempts"
        self.query_one("#rates").border_title = "Rates on work images"
        self.query_one("#heat").border_title = "What the model looks at, trigger on"
        self.query_one(RunLog).focus()

    def draw(self, state: RunState) -> None:
        self.query_one(Problem).draw(state.errors, "r tries again, 5 shows what there is, escape goes back")
        self.query_one(Heading).draw(state)
        self.query_one(RunLog).draw(state)
        said = [line for attempt in state.attempts for line in attempt_lines(attempt)]
        self.query_one("#attempt-words", Static).update(
            Text("\n").join(said) if said else Text("none yet", style="dim")
        )  # fmt: skip
        self._draw_rates(state)
        self._draw_heat(state)
        self.draw_clock(state)

    def draw_clock(self, state: RunState) -> None:
        self.query_one(StageRail).draw(state)
        self.query_one(Working).draw(state)

    def _draw_rates(self, state: RunState) -> None:
        steps = state.attempts[-1].steps if state.attempts else []
        accuracy = [step.clean_accuracy for step in steps]
        flips = [step.proxy_attack_success_rate for step in steps]
        tar = [step.tar for step in steps if step.tar is not None]
        self.query_one("#accuracy", Gauge).draw(accuracy, percent(accuracy[-1] if accuracy else None))
        self.query_one("#flips", Gauge).draw(flips, percent(flips[-1] if flips else None))
        self.query_one("#tar", Gauge).draw(tar, number(tar[-1]) if tar else NOTHING)
        if steps:
            self.query_one("#rates").border_subtitle = Content(shown(steps[-1].method, 20))

    def _draw_heat(self, state: RunState) -> None:
        if state.heat_maps is not None:
            self.query_one(HalfBlockImage).pixels = heat_colours(state.heat_maps[:MOST_MAPS])


def attempt_lines(attempt: Attempt) -> list[Text]:
    """The method with its sign, and the reason once it has been judged."""
    mark = RUNNING if attempt.accepted is None else DONE if attempt.accepted else FAILED
    word = "at work" if attempt.accepted is None else "accepted" if attempt.accepted else "not accepted"
    head = marked(mark, f"{attempt.method}: {word}")
    return [head, Text(f"  {shown(attempt.reason, 300)}", style="dim")] if attempt.reason else [head]
