"""Audit: the search as it happens."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Footer

from auditor.domain import family_words
from auditor.report.text import NOTHING, number, percent
from auditor.tui.screens.base import RunningScreen
from auditor.tui.state import RunState
from auditor.tui.text import shown
from auditor.tui.widgets.chart import Chart
from auditor.tui.widgets.class_table import ClassTable
from auditor.tui.widgets.halfblock import PictureWidget
from auditor.tui.widgets.heading import Heading
from auditor.tui.widgets.log import RunLog
from auditor.tui.widgets.problem import Problem
from auditor.tui.widgets.rail import StageRail
from auditor.tui.widgets.working import Working
from auditor.tui.wording import again


class AuditScreen(RunningScreen):
    """The stages, the classes, the cheapest trigger forming with its curves, the log."""

    NAME = "audit"
    HELP_TEXT = (
        "For each class we search the smallest trigger that forces it. In an honest model every class costs "
        "about the same; the target of a backdoor is much cheaper. The picture is the cheapest trigger so far, the "
        "curves its loss (by orders of magnitude) and the share of images it flips. A click on a column sorts by it."
    )
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "app.leave", "Back", id="audit.back")]

    def compose(self) -> ComposeResult:
        yield Heading(1)
        yield Problem(classes="panel")
        with Horizontal(id="work"):
            with Vertical(id="side"):
                yield StageRail(classes="panel")
                with Vertical(id="forming", classes="panel"):
                    yield self.auditor.picture(empty="no trigger yet")
                with Vertical(id="curves", classes="panel"):
                    yield Chart("flips", id="flips")
                    yield Chart("loss", scale=None, id="loss")
            with Vertical(id="main"):
                yield ClassTable(classes="panel")
                yield RunLog(classes="panel")
        yield Working()
        yield Footer()

    def on_mount(self) -> None:
        self.query_one("#forming").border_title = "Cheapest trigger so far"
        self.query_one("#curves").border_title = "Its search"
        self.query_one(ClassTable).focus()

    def draw(self, state: RunState) -> None:
        self.query_one(Problem).draw(state.errors, f"{again(state)}, escape goes back")
        self.query_one(Heading).draw(state)
        self.query_one(ClassTable).draw(state)
        self.query_one(RunLog).draw(state)
        self._draw_forming(state)
        self.draw_clock(state)

    def draw_clock(self, state: RunState) -> None:
        self.query_one(StageRail).draw(state)
        self.query_one(Working).draw(state, self.auditor.tempo_words)

    def _draw_forming(self, state: RunState) -> None:
        search = state.search
        picture = self.query_one(PictureWidget)
        if picture.pixels is not search.picture:
            picture.pixels = search.picture
        if search.picture_class is not None:
            toward = shown(state.names(search.picture_class), 24)
            self.query_one("#forming").border_subtitle = Content(f"{shown(family_words(search.family), 16)} toward {toward}")
        share = search.step / search.steps if search.steps else 1.0
        self.query_one("#flips", Chart).draw(search.flip_shares.values, percent(search.flip_shares.latest), share=share)
        loss = search.losses.latest
        self.query_one("#loss", Chart).draw(search.losses.values, NOTHING if loss is None else number(loss), share=share)
