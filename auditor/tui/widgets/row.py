"""A line of a form: a label, and what is filled in."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Input, Static


class Row(Horizontal):
    """One field with its label before it."""

    def __init__(self, label: str, filled_in: Widget) -> None:
        super().__init__(classes="row")
        self._label, self._field = label, filled_in

    def compose(self) -> ComposeResult:
        yield Static(self._label, classes="label")
        yield self._field


def field(name: str, placeholder: str) -> Input:
    """An empty field for a line of text."""
    return Input(id=name, placeholder=placeholder, compact=True)
