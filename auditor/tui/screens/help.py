"""Help for the screen it was called from: what it shows, and every key that works there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

GENERAL = (
    "tab moves between the parts of a screen, 1 to 5 between screens that have something to show. ctrl+p lists "
    "every action. ctrl+q quits at any time: a running audit is cancelled, and what it finished stays in the run "
    "folder. Nothing here ever runs code from the checkpoint."
)


class Help(ModalScreen[None]):
    """`keys` are (key, what it does) pairs."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,f1,q", "dismiss", "Close")]

    def __init__(self, words: str, keys: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._words = words
        self._keys = keys

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog"):
            yield Static(Text(self._words))
            listed = [Text.assemble((f"{key:>12}", "bold"), f"  {what}") for key, what in self._keys]
            yield Static(Text("\n").join(listed), classes="dialog-words")
            yield Static(Text(GENERAL, style="dim"))
            yield Static(Text("escape closes", style="dim"), classes="dialog-words")
