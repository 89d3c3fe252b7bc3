"""Finding: what was found, why we say so, and what to do about it."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Button, Footer, Static

from auditor.domain import AuditResult, TriggerFinding, family_words
from auditor.report.text import number, percent
from auditor.report.words import judge, strongest
from auditor.tui.screens.base import StateScreen
from auditor.tui.state import RunState
from auditor.tui.text import DONE, FAILED, NOTE, STYLES, WARNING, count_of, interval_text, marked, shown
from auditor.tui.widgets.bars import CostBars
from auditor.tui.widgets.halfblock import HalfBlockImage
from auditor.tui.widgets.heading import Heading

MARKS = {"found": FAILED, "held": DONE, "unknown": WARNING, "none": NOTE}
_CHOICES = (("auto", "Auto (a)"), ("refit", "Refit (r)"), ("prune", "Prune (p)"), ("edit", "Edit (e)"), ("finish", "Finish (f)"))


class FindingScreen(StateScreen):
    """The verdict in words, the trigger, the classes, and the choice of a method."""

    NAME = "finding"
    HELP_TEXT = (
        "Auto tries the unlearning methods and keeps the first whose result passes verification. Refit gives every "
        "layer weights that answer the trigger as they answer clean images; prune removes the channels that the "
        "trigger uses; edit weakens them in the last layers. Each is measured afresh afterwards. "
        "Finish ends here without a sanitized model."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "choose('auto')", "Auto"),
        Binding("r", "choose('refit')", "Refit"),
        Binding("p", "choose('prune')", "Prune"),
        Binding("e", "choose('edit')", "Edit"),
        Binding("f", "choose('finish')", "Finish"),
    ]

    def compose(self) -> ComposeResult:
        yield Heading(2)
        with VerticalScroll(id="verdict", classes="panel"):
            yield Static(id="verdict-words")
        with Horizontal(id="evidence"):
            with Vertical(id="trigger", classes="panel"):
                yield HalfBlockImage(empty="no picture")
                yield Static(id="trigger-words")
            with VerticalScroll(id="bars", classes="panel"):
                yield CostBars()
        with Horizontal(id="choices"):
            for name, label in _CHOICES:
                yield Button(label, id=name, compact=True, variant="primary" if name == "auto" else "default")
        yield Footer()

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one("#verdict").border_title = "Verdict"
        self.query_one("#trigger").border_title = "Synthesized trigger"
        self.query_one("#bars").border_title = CostBars.TITLE
        self.call_after_refresh(lambda: self.query_one(self._first_choice, Button).focus())

    @property
    def is_backdoored(self) -> bool:
        return self.state.verdict is not None and self.state.verdict.label == "backdoored"

    @property
    def _first_choice(self) -> str:
        return "#auto" if self._can("auto") else "#finish"

    def _can(self, choice: str) -> bool:
        if choice == "finish":
            return not self.state.is_running
        return self.is_backdoored and not self.state.is_replay and not self.state.is_running

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Methods are offered only for a backdoor that was found here."""
        return self._can(str(parameters[0])) if action == "choose" else True

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.action_choose(event.button.id or "finish")

    def action_choose(self, choice: str) -> None:
        if self._can(choice) and choice == "finish":
            self.auditor.finish_without_unlearning()
        elif self._can(choice):
            self.auditor.unlearn(choice)

    def draw(self, state: RunState) -> None:
        self.query_one(Heading).draw(state)
        for name, _ in _CHOICES:
            self.query_one(f"#{name}", Button).display = self._can(name)
        if state.result is None:
            return
        self.query_one("#verdict-words", Static).update(verdict_words(state, state.result))
        self._draw_trigger(state, strongest(state.result))
        self.query_one(CostBars).draw(state)

    def _draw_trigger(self, state: RunState, trigger: TriggerFinding | None) -> None:
        picture = self.query_one(HalfBlockImage)
        pixels = state.pictures.get((trigger.family, trigger.target_class)) if trigger else state.search.picture
        if picture.pixels is not pixels:
            picture.pixels = pixels
        said = trigger_words(state, trigger) if trigger else Text("No trigger was confirmed.", style="dim")
        self.query_one("#trigger-words", Static).update(said)


def verdict_words(state: RunState, result: AuditResult) -> Text:
    """The label, one sentence, and each reason on a line."""
    outcome = judge(result)
    mark = MARKS[outcome.mark]
    said = [Text.assemble((f"{mark} {outcome.label}", STYLES[mark]), headline(state, result))]
    verdict = result.verdict
    if verdict is not None:
        said += [marked(NOTE, reason, 300) for reason in verdict.reasons[:8]]
        if verdict.score is not None:
            basis = "calibrated" if verdict.calibration else "uncalibrated"
            said.append(marked(NOTE, f"Suspicion {number(verdict.score)} on a scale from 0 to 1 ({basis})."))
    if result.attention is not None and result.attention.before is not None:
        said.append(marked(NOTE, f"Trigger Attention Ratio {interval_text(result.attention.before.energy)}: the share "
                           f"of attention on the trigger, which is {percent(result.attention.mask_area)} of the "
                           "image."))  # fmt: skip
    return Text("\n").join(said)


def headline(state: RunState, result: AuditResult) -> str:
    """What the label means for this model, to follow it."""
    verdict = result.verdict
    if verdict is None or verdict.label == "inconclusive":
        return ". The model may or may not carry a backdoor."
    if verdict.label == "no_evidence":
        return ". Nothing that was searched for stands out; this is not proof of absence."
    return f" toward {shown(state.names.listed(verdict.target_classes), 120)}."


def trigger_words(state: RunState, trigger: TriggerFinding) -> Text:
    """What the trigger does, in two or three short lines."""
    sign = DONE if trigger.confirmed else WARNING
    word = "confirmed" if trigger.confirmed else "not confirmed"
    area = "" if trigger.mask_area is None else f", covers {percent(trigger.mask_area)}"
    return Text("\n").join([
        Text(f"{shown(family_words(trigger.family), 20)} toward {shown(state.names(trigger.target_class), 30)}"),
        Text(f"flips {count_of(trigger.attack_success_rate)}"),
        marked(sign, word + area),
    ])  # fmt: skip
