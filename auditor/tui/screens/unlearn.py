"""Unlearn: a method and its parameters, then the backdoor leaving the model, and the verification that follows."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Footer

from auditor.report.text import NOTHING, number, percent
from auditor.tui.pictures import heated
from auditor.tui.screens.base import RunningScreen
from auditor.tui.state import Attempt, RunState
from auditor.tui.text import DONE, FAILED, RUNNING, marked, shown
from auditor.tui.widgets.chart import Chart
from auditor.tui.widgets.heading import Heading
from auditor.tui.widgets.log import RunLog
from auditor.tui.widgets.method_form import MethodForm
from auditor.tui.widgets.problem import Problem
from auditor.tui.widgets.rail import StageRail
from auditor.tui.widgets.steady import Steady
from auditor.tui.widgets.thumbnails import Column, Thumbnails
from auditor.tui.widgets.working import Working
from auditor.tui.wording import again

MOST_MAPS = 8


class UnlearnScreen(RunningScreen):
    """A form while nothing runs; then the stages, what each method has tried, live rates and attention."""

    NAME = "unlearn"
    HELP_TEXT = (
        "Choose a method and change its parameters; F5 starts. Then accuracy should stay, the share of images the "
        "trigger flips should fall to nothing, and attention should leave the trigger. These are proxies on the "
        "images at work; the claim is measured afterwards, on images that no stage before has touched."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f5", "start", "Start", id="unlearn.start"),
        Binding("escape", "app.leave", "Back", id="unlearn.back"),
    ]

    def compose(self) -> ComposeResult:
        yield Heading(3)
        yield Problem(classes="panel")
        with Horizontal(id="work"):
            with Vertical(id="side"):
                yield MethodForm(classes="panel")
                yield StageRail(classes="panel")
                with VerticalScroll(id="attempts", classes="panel"):
                    yield Steady(wraps=True, id="attempt-words")
            with Vertical(id="main"):
                with Horizontal(id="rates", classes="panel"):
                    yield Chart("clean", id="accuracy")
                    yield Chart("flips", id="flips")
                    yield Chart("TAR", id="tar")
                with Vertical(id="heat", classes="panel"):
                    yield Thumbnails(empty="heat-maps follow")
                yield RunLog(classes="panel")
        yield Working()
        yield Footer()

    def on_mount(self) -> None:
        self.query_one("#attempts").border_title = "Attempts"
        self.query_one("#rates").border_title = "Work images: accuracy, trigger flips, TAR"
        self.query_one("#heat").border_title = "Where the model looks, trigger on"
        if self._offers_form:
            self.query_one(MethodForm).focus_first()
        else:
            self.query_one(RunLog).focus()

    @property
    def _offers_form(self) -> bool:
        state = self.state
        return state.is_backdoored and not state.is_running and not state.is_replay

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self._offers_form if action == "start" else True

    def on_method_form_start(self) -> None:
        self.action_start()

    def action_start(self) -> None:
        """Unlearn with the method and the values of the form, where all of them can be read."""
        chosen = self.query_one(MethodForm).chosen() if self._offers_form else None
        if chosen is not None:
            self.auditor.unlearn(*chosen)
            self.query_one(RunLog).focus()

    def draw(self, state: RunState) -> None:
        form = self._offers_form
        self.query_one(MethodForm).display = form
        self.query_one(StageRail).display = not form
        self.query_one(Problem).draw(state.errors, f"{again(state)}, 5 shows what there is, escape goes back")
        self.query_one(Heading).draw(state)
        self.query_one(RunLog).draw(state)
        said = [line for attempt in state.attempts for line in attempt_lines(attempt)]
        self.query_one("#attempt-words", Steady).say(Text("\n").join(said) if said else Text("none yet", style="dim"))
        self._draw_attempt(state.attempts[-1] if state.attempts else Attempt(method=""))
        self.draw_clock(state)

    def draw_clock(self, state: RunState) -> None:
        self.query_one(StageRail).draw(state)
        self.query_one(Working).draw(state, self.auditor.tempo_words)

    def _draw_attempt(self, attempt: Attempt) -> None:
        latest = attempt.latest
        share = latest.step / latest.steps if latest is not None and latest.steps > 0 else 1.0
        for name, series in (("accuracy", attempt.accuracy), ("flips", attempt.flips)):
            self.query_one(f"#{name}", Chart).draw(series.values, percent(series.latest), share=share)
        tar, beside = attempt.tar.latest, attempt.control.latest
        said = NOTHING if tar is None else number(tar) + ("" if beside is None else f", control {number(beside)}")
        self.query_one("#tar", Chart).draw(attempt.tar.values, said, attempt.control.values, share=share)
        if latest is not None:
            said = f"{shown(latest.method, 20)}, step {latest.step} of {latest.steps}"
            self.query_one("#rates").border_subtitle = Content(said)
        self.query_one(Thumbnails).draw(*heat_columns(attempt))


def heat_columns(attempt: Attempt) -> tuple[list[Column], list[str]]:
    """A column an image: the heat at the first step above that of now."""
    if attempt.maps is None or attempt.first_maps is None:
        return [], []
    now = heated(attempt.maps[:MOST_MAPS])
    first = heated(attempt.first_maps[:MOST_MAPS])
    return [Column(pictures=list(pair)) for pair in zip(first, now, strict=False)], ["at the first step", "now"]


def attempt_lines(attempt: Attempt) -> list[Text]:
    """The method with its sign, and the reason once it has been judged."""
    mark = RUNNING if attempt.accepted is None else DONE if attempt.accepted else FAILED
    word = "at work" if attempt.accepted is None else "accepted" if attempt.accepted else "not accepted"
    head = marked(mark, f"{attempt.method}: {word}")
    return [head, Text(f"  {shown(attempt.reason, 300)}", style="dim")] if attempt.reason else [head]
