"""A method and its hyper-parameters as a form, made from the registry: a field of a method is a row here."""

from __future__ import annotations

import inspect
from typing import Any

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.widgets import Button, Input, Select, Static

from auditor.errors import UsageError
from auditor.tui.text import FAILED, NOTE, marked, shown
from auditor.unlearn import METHODS
from auditor.unlearn.settings import Parameter, describe, parameters_of, to_text

AUTO = "auto"
AUTO_WORDS = "Tries several methods in turn, and keeps the first whose result passes verification."


class MethodForm(VerticalScroll):
    """A choice of method, a row for each of its parameters with what it takes, and a button to start."""

    class Start(Message):
        """The button was pressed."""

    def __init__(self, *, classes: str = "") -> None:
        super().__init__(classes=classes, can_focus=False)
        self._method = AUTO

    def compose(self) -> ComposeResult:
        choices = [(name, name) for name in (AUTO, *METHODS)]
        yield Select(choices, value=AUTO, allow_blank=False, id="method", compact=True)
        yield Static(id="method-words")
        yield Vertical(id="parameters")
        yield Static(id="form-problem")
        with Horizontal(id="form-buttons"):
            yield Button("Start (F5)", id="unlearn-start", variant="primary", compact=True)
            yield Button("Method's own values", id="defaults", compact=True)

    def on_mount(self) -> None:
        self.border_title = "Method"
        self._tell()

    def focus_first(self) -> None:
        self.query_one("#method", Select).focus()

    @on(Select.Changed, "#method")
    async def _method_chosen(self, event: Select.Changed) -> None:
        if str(event.value) != self._method:
            self._method = str(event.value)
            await self._build()

    @on(Button.Pressed, "#defaults")
    async def _build(self) -> None:
        """Make the rows again, with the method's own values."""
        rows = self.query_one("#parameters", Vertical)
        await rows.remove_children()
        await rows.mount_all([_row(parameter) for parameter in self._parameters()])
        self._tell()

    def _parameters(self) -> list[Parameter]:
        return [] if self._method == AUTO else parameters_of(METHODS[self._method])

    def _tell(self) -> None:
        words = AUTO_WORDS if self._method == AUTO else method_words(self._method)
        self.query_one("#method-words", Static).update(Text(shown(words, 500), style="dim"))
        self.query_one("#defaults").display = self._method != AUTO
        self._check()

    @on(Button.Pressed, "#unlearn-start")
    def _start(self) -> None:
        self.post_message(self.Start())

    @on(Input.Changed)
    @on(Select.Changed)
    def _check(self) -> None:
        """Say what is wrong with the first value that is, next to the button that it holds back."""
        self.query_one("#form-problem", Static).update(self._read()[1])
        self.query_one("#unlearn-start", Button).disabled = self._read()[0] is None

    def chosen(self) -> tuple[str, dict[str, Any]] | None:
        """The method and the settings that are not its own values; None where one cannot be read."""
        settings = self._read()[0]
        return None if settings is None else (self._method, settings)

    def _read(self) -> tuple[dict[str, Any] | None, Text]:
        settings: dict[str, Any] = {}
        for parameter in self._parameters():
            found = self.query(f"#set-{parameter.name}")
            if not found:
                continue
            field = found.first()
            try:
                value = parameter.read(field.value) if isinstance(field, Input | Select) else parameter.default
            except UsageError as error:
                return None, marked(FAILED, error.what)
            if value != parameter.default:
                settings[parameter.name] = value
        changed = ", ".join(settings)
        return settings, marked(NOTE, f"changed: {changed}") if changed else Text("")


def method_words(name: str) -> str:
    """The first sentence of a method's own description."""
    words = " ".join((inspect.getdoc(type(METHODS[name])) or "").split("\n\n")[0].split())
    first = words.split(". ")[0].rstrip(".:,")
    return f"{first}." + (" A reconstruction." if METHODS[name].is_reconstruction else "")


def _row(parameter: Parameter) -> Vertical:
    """A named input or choice, and what it takes."""
    field: Input | Select[str]
    if parameter.choices:
        field = Select([(choice, choice) for choice in parameter.choices], value=to_text(parameter.default),
                       allow_blank=False, id=f"set-{parameter.name}", compact=True)  # fmt: skip
    else:
        field = Input(to_text(parameter.default), id=f"set-{parameter.name}", compact=True, select_on_focus=True)
    field.tooltip = f"{parameter.name} is {describe(parameter)}; {to_text(parameter.default)} is the method's own"
    name = Static(shown(parameter.name.replace("_", " "), 40), classes="parameter-name")
    return Vertical(Horizontal(name, field, classes="parameter"), classes="parameter-row")
