"""Finding: what was found, why we say so, and what to do about it."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Button, Footer, Static

from auditor.domain import TriggerFinding, family_words
from auditor.report.text import percent
from auditor.report.triggers import alike_with, rate_together, strongest
from auditor.tui.evidence import Evidence, Sample
from auditor.tui.screens.base import StateScreen
from auditor.tui.state import RunState
from auditor.tui.text import DONE, WARNING, count_of, marked, shown
from auditor.tui.widgets.bars import CostBars
from auditor.tui.widgets.heading import Heading
from auditor.tui.widgets.thumbnails import Column, Thumbnails
from auditor.tui.wording import verdict_words

_CHOICES = (("auto", "Auto (a)"), ("choose", "Choose a method (u)"), ("finish", "Finish (f)"))
VIEWS = ("samples", "bars")


class FindingScreen(StateScreen):
    """The verdict in words, the trigger, samples with it, the classes, and what to do next."""

    NAME = "finding"
    HELP_TEXT = (
        "The verdict and its reasons; the trigger that was synthesized and its mask (white replaces the image); "
        "samples with it, what the model answers to them, and where it looks (Grad-CAM: red to white is where the "
        "answer comes from); what forcing each class costs. Auto tries the unlearning methods and keeps the first "
        "whose result passes verification. Choose a method sets one and its parameters. Finish ends here without a "
        "sanitized model. Search on, after a stop that came too early, takes the search up again."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "choose('auto')", "Auto", id="finding.auto"),
        Binding("u", "choose('choose')", "Choose a method", id="finding.choose"),
        Binding("f", "choose('finish')", "Finish", id="finding.finish"),
        Binding("r", "app.resume", "Search on", id="finding.resume"),
        Binding("v", "view", "Other view", id="finding.view"),
    ]
    _view = "samples"

    def compose(self) -> ComposeResult:
        yield Heading(2)
        with VerticalScroll(id="verdict", classes="panel"):
            yield Static(id="verdict-words")
        with Horizontal(id="evidence"):
            with Vertical(id="trigger", classes="panel"):
                yield Thumbnails(empty="no picture", id="trigger-pictures")
                yield Static(id="trigger-words")
            with Vertical(id="samples", classes="panel"):
                yield Thumbnails(empty="no samples were recorded", id="sample-pictures")
            with VerticalScroll(id="bars", classes="panel"):
                yield CostBars()
        with Horizontal(id="choices"):
            for name, label in _CHOICES:
                yield Button(label, id=name, compact=True, variant="primary" if name == "auto" else "default")
        yield Footer()

    def on_mount(self) -> None:
        self.query_one("#verdict").border_title = "Verdict"
        self.query_one("#trigger").border_title = "Synthesized trigger"
        self.query_one("#samples").border_title = "With the trigger on, and where the model looks"
        self.query_one("#bars").border_title = CostBars.TITLE
        self.call_after_refresh(lambda: self.query_one(self._first_choice, Button).focus())

    @property
    def _first_choice(self) -> str:
        return "#auto" if self._can("auto") else "#finish"

    def _can(self, choice: str) -> bool:
        state = self.state
        if choice == "finish":
            return not state.is_running
        return state.is_backdoored and not state.is_replay and not state.is_running

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Methods are offered only for a backdoor that was found here."""
        if action == "view":
            return self.has_class("-narrow")
        return self._can(str(parameters[0])) if action == "choose" else True

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.action_choose(event.button.id or "finish")

    def action_choose(self, choice: str) -> None:
        if not self._can(choice):
            return
        if choice == "finish":
            self.auditor.finish_without_unlearning()
        elif choice == "choose":
            self.auditor.show("unlearn")
        else:
            self.auditor.unlearn(choice)

    def action_view(self) -> None:
        """Show the other panel, where there is room for one only."""
        self._view = VIEWS[(VIEWS.index(self._view) + 1) % len(VIEWS)]
        self._place()
        self.call_after_refresh(self.redraw)

    def _place(self) -> None:
        for view in VIEWS:
            self.query_one(f"#{view}").display = not self.has_class("-narrow") or view == self._view

    def draw(self, state: RunState) -> None:
        self._place()
        self.query_one(Heading).draw(state)
        for name, _ in _CHOICES:
            self.query_one(f"#{name}", Button).display = self._can(name)
        self.query_one("#verdict-words", Static).update(verdict_words(state))
        self._draw_trigger(state, strongest(state.result) if state.result else None)
        self.query_one("#sample-pictures", Thumbnails).draw(*sample_columns(state, state.evidence.samples))
        self.query_one(CostBars).draw(state)

    def _draw_trigger(self, state: RunState, finding: TriggerFinding | None) -> None:
        self.query_one("#trigger-pictures", Thumbnails).draw(trigger_columns(state, state.evidence, finding))
        said = trigger_words(state, finding) if finding else Text("No trigger was confirmed.", style="dim")
        self.query_one("#trigger-words", Static).update(said)


def trigger_columns(state: RunState, evidence: Evidence, finding: TriggerFinding | None) -> list[Column]:
    """The trigger and its mask; while the evidence is not there, the picture that the search showed."""
    if evidence.trigger is not None:
        mask = [] if evidence.mask is None else [Column(pictures=[evidence.mask], lines=["mask"])]
        return [Column(pictures=[evidence.trigger], lines=["trigger"]), *mask]
    live = state.pictures.get((finding.family, finding.target_class)) if finding else state.search.picture
    return [] if live is None else [Column(pictures=[live], lines=["trigger"])]


def sample_columns(state: RunState, samples: list[Sample]) -> tuple[list[Column], list[str]]:
    """A column a sample: stamped, with its heat-map, and what it is and what the model says it is."""
    with_maps = [sample for sample in samples if sample.before is not None]
    labels = ["with the trigger", "Grad-CAM of the answer"] if with_maps else ["with the trigger"]
    columns = []
    for sample in with_maps or samples:
        lines = [f"says {shown(state.names.bare(sample.said), 24)}" if sample.said >= 0 else ""]
        lines += [f"is {shown(state.names.bare(sample.true), 24)}"] if sample.true >= 0 else []
        maps = [sample.before] if sample.before is not None else []
        columns.append(Column(pictures=[sample.stamped, *maps], lines=lines))
    return columns, labels


def trigger_words(state: RunState, trigger: TriggerFinding) -> Text:
    """What the trigger does, in two or three short lines."""
    sign = DONE if trigger.confirmed else WARNING
    word = "confirmed" if trigger.confirmed else "not confirmed"
    area = "" if trigger.mask_area is None else f", covers {percent(trigger.mask_area)}"
    rate = rate_together(alike_with(trigger, state.result.triggers)) if state.result else trigger.attack_success_rate
    return Text("\n").join([
        Text(f"{shown(family_words(trigger.family), 20)} toward {shown(state.names(trigger.target_class), 30)}"),
        Text(f"flips {count_of(rate)}"),
        marked(sign, word + area),
    ])  # fmt: skip
