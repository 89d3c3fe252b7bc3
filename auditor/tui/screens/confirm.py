"""Asks once before an audit is cancelled."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from auditor.tui.text import shown


class ConfirmCancel(ModalScreen[bool]):
    """True when the person wants the audit cancelled."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes, cancel", id="confirm.yes"),
        Binding("n,escape,c", "answer(False)", "No, go on", id="confirm.no"),
    ]

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = folder

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text("Cancel the audit?", style="bold"))
            kept = f"Finished stages stay in {shown(self._folder, 60)}; the same settings resume them there."
            yield Static(Text(kept), classes="dialog-words")
            yield Static(Text("To keep the best so far instead, answer no and press s.", style="dim"))
            with Horizontal(classes="dialog-buttons"):
                yield Button("No, go on (n)", id="no", variant="primary")
                yield Button("Yes, cancel (y)", id="yes", variant="error")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)
