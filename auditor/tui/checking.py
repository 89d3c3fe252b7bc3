"""A trial before an audit: the model is opened, and tried on the images, by the verb that an audit begins with."""

from __future__ import annotations

from rich.text import Text

from auditor.domain import AuditResult, ErrorRecord
from auditor.events import Control
from auditor.request import Request
from auditor.tui.facts import check_words
from auditor.tui.messages import Checked
from auditor.tui.producing import Stream, produce


def try_out(token: int, stream: Stream, request: Request, control: Control) -> Checked:
    """In a worker: run the trial to its end."""
    result, errors = produce(stream, "preflight", request, control, post=lambda event: None, is_abandoned=lambda: False)
    return Checked(token, result, errors or (result.errors if result else []))


class Check:
    """One trial at a time; a new one, or `end`, puts an end to the one before."""

    def __init__(self) -> None:
        self._token = -1
        self._control = Control()
        self._result: AuditResult | None = None
        self._errors: list[ErrorRecord] = []
        self.is_running = False

    def begin(self, token: int) -> Control:
        """From now on the trial of what `token` counts is the one that holds; what steers it."""
        self.end()
        self._token, self._control, self.is_running = token, Control(), True
        return self._control

    def end(self) -> None:
        """Give the trial up, and forget what it found."""
        self._control.cancel()
        self._token, self._result, self._errors, self.is_running = -1, None, [], False

    def take(self, message: Checked) -> bool:
        """Take in the outcome, where it is of the trial that holds."""
        if message.token != self._token or not self.is_running:
            return False
        self._result, self._errors, self.is_running = message.result, message.errors, False
        return True

    @property
    def architecture(self) -> str:
        return self._result.architecture.name if self._result and self._result.architecture else ""

    @property
    def words(self) -> Text | None:
        return None if self._token < 0 or self.is_running else check_words(self._result, self._errors)

    def why_not(self, token: int) -> str:
        """Why an audit of what `token` counts cannot start, or nothing."""
        if self._token != token or self.is_running:
            return "Opening the model safely, and trying it on the images."
        return "This model cannot be audited: see above." if self._errors else ""
