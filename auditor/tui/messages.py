"""What the worker thread tells the interface. `token` says which start it belongs to."""

from __future__ import annotations

from pathlib import Path

from textual.message import Message

from auditor.domain import AuditResult, ErrorRecord
from auditor.events import Event
from auditor.tui.evidence import Evidence
from auditor.tui.history import PastRun
from auditor.tui.opening import FileFacts, ImageFacts
from auditor.tui.state import RunState


class AuditEvent(Message):
    """One event of the verb that is running."""

    def __init__(self, token: int, event: Event) -> None:
        super().__init__()
        self.token = token
        self.event = event


class AuditEnded(Message):
    """The verb ended: with a result, or with `errors` where it raised instead."""

    def __init__(self, token: int, result: AuditResult | None, errors: list[ErrorRecord], evidence: Evidence) -> None:
        super().__init__()
        self.token = token
        self.result = result
        self.errors = errors
        self.evidence = evidence


class RunOpened(Message):
    """A recorded run was read."""

    def __init__(self, state: RunState) -> None:
        super().__init__()
        self.state = state


class RunRefused(Message):
    """A recorded run could not be read."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what


class Looked(Message):
    """What a look at the chosen paths found."""

    def __init__(self, token: int, model: FileFacts | None, clean: ImageFacts | None) -> None:
        super().__init__()
        self.token = token
        self.model = model
        self.clean = clean


class Listed(Message):
    """The recorded runs that were found."""

    def __init__(self, runs: list[PastRun]) -> None:
        super().__init__()
        self.runs = runs


class RunChosen(Message):
    """A recorded run is to be opened."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder


class Checked(Message):
    """What opening the model and trying it on the images found."""

    def __init__(self, token: int, result: AuditResult | None, errors: list[ErrorRecord]) -> None:
        super().__init__()
        self.token = token
        self.result = result
        self.errors = errors
