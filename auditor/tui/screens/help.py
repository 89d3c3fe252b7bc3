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

from auditor.tui.config import config_path
from auditor.tui.text import shown

GENERAL = (
    "tab moves between the parts of a screen, 1 to 6 between screens that have something to show. ctrl+p lists "
    "every action. ctrl+q quits at any time: a running audit is cancelled, and what it finished stays in the run "
    "folder. Nothing here ever runs code from the checkpoint. Keys and theme are set in {config}; the names to set "
    "keys by stand in brackets."
)


class Help(ModalScreen[None]):
    """`keys` are (key, what it does, its name for the configuration)."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,f1,q", "dismiss", "Close")]

    def __init__(self, words: str, keys: Sequence[tuple[str, str, str]]) -> None:
        super().__init__()
        self._words = words
        self._keys = keys

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog"):
            yield Static(Text(self._words))
            listed = [Text.assemble((f"{key:>12}", "bold"), f"  {what}  ", (f"[{name}]" if name else "", "dim"))
                      for key, what, name in self._keys]  # fmt: skip
            yield Static(Text("\n").join(listed), classes="dialog-words")
            yield Static(Text(GENERAL.format(config=shown(config_path())), style="dim"))
            yield Static(Text("escape closes", style="dim"), classes="dialog-words")
