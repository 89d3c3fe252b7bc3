"""What happens during an audit, as typed events, and the Control that steers it.

Verbs are generators of these. A recorder numbers and times them and writes one JSON line
each, so a finished run can be replayed. Arrays ride along while the audit is live; the
recorder stores them under `evidence/` and the event then names the file.
"""

from __future__ import annotations

import dataclasses
import json
import threading
import time
import typing
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from auditor.domain import AuditResult, BackdoorKind, Verdict
from auditor.errors import Cancelled
from auditor.plain import from_plain, to_plain

Picture = NDArray[np.float32] | str | None


@dataclass(frozen=True, kw_only=True)
class Event:
    """`number` counts from 1 in a run and `at_s` is seconds since its start; 0 until recorded."""

    number: int = 0
    at_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class StageStarted(Event):
    stage: str
    title: str
    steps: int | None = None


@dataclass(frozen=True, kw_only=True)
class StageFinished(Event):
    stage: str
    seconds: float
    summary: str = ""


@dataclass(frozen=True, kw_only=True)
class Notice(Event):
    """Something a person should know: an inference made, a limit met, a warning."""

    message: str
    level: Literal["info", "warning", "error"] = "info"


@dataclass(frozen=True, kw_only=True)
class ModelOpened(Event):
    """The checkpoint was opened safely and its architecture is known."""

    sha256: str
    format: str
    architecture: str
    num_classes: int
    input_shape: list[int]


@dataclass(frozen=True, kw_only=True)
class SearchStep(Event):
    """State of a family's search after some steps; the lists run over the classes still searched.

    `cost` holds None where no trigger flips enough images yet. `picture` is the cheapest
    trigger so far, (H, W, 3) in [0, 1], toward `picture_class`.
    """

    family: str
    step: int
    steps: int
    classes: list[int]
    loss: list[float]
    attack_success_rate: list[float]
    cost: list[float | None]
    picture: Picture = None
    picture_class: int | None = None


@dataclass(frozen=True, kw_only=True)
class SharedSearchStep(Event):
    """Progress of the shared adversarial search; `histogram` counts shared labels per class."""

    step: int
    steps: int
    shared_images: int
    histogram: list[int]


@dataclass(frozen=True, kw_only=True)
class SourceSearchStep(Event):
    """Progress of a search for triggers that mind where an image comes from: of one source class, or of all to all.
    `triggers` descend together."""

    kind: BackdoorKind
    step: int
    steps: int
    triggers: int


@dataclass(frozen=True, kw_only=True)
class CandidateFound(Event):
    target_class: int
    family: str
    cost: float
    attack_success_rate: float
    confirmed: bool
    evidence: str = ""


@dataclass(frozen=True, kw_only=True)
class VerdictReached(Event):
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class UnlearnStep(Event):
    """One epoch or pruning step; step 0 is the suspect itself. Rates are on work images: proxies, not the claim.

    `tar` is read on a few fixed images with the trigger, `tar_random` for masks of equal area elsewhere on
    the same heat-maps: only the first should fall. `heat_maps` (N, H, W) in [0, 1] are those of the fixed images.
    """

    method: str
    step: int
    steps: int
    clean_accuracy: float
    proxy_attack_success_rate: float
    tar: float | None = None
    tar_random: float | None = None
    losses: dict[str, float] = field(default_factory=dict)
    parameters_changed: int = 0
    heat_maps: Picture = None


@dataclass(frozen=True, kw_only=True)
class AttemptFinished(Event):
    method: str
    accepted: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class ResultReached(Event):
    """What the verb found, as far as it came: with it the log alone shows everything again."""

    result: AuditResult


@dataclass(frozen=True, kw_only=True)
class FileWritten(Event):
    path: str
    what: str


@dataclass(frozen=True, kw_only=True)
class AuditFinished(Event):
    exit_code: int
    label: str
    passed: bool | None = None


KINDS: dict[str, type[Event]] = {
    kind.__name__: kind
    for kind in (
        StageStarted, StageFinished, Notice, ModelOpened, SearchStep, SharedSearchStep, SourceSearchStep,
        CandidateFound, VerdictReached, UnlearnStep, AttemptFinished, ResultReached, FileWritten, AuditFinished,
    )
}  # fmt: skip


def encode(event: Event) -> str:
    """One JSON line, without the newline. Arrays must have been stored first.

    Raises TypeError when an array field still holds an array.
    """
    return json.dumps({"event": type(event).__name__, **to_plain(event)}, ensure_ascii=False, allow_nan=False)


def decode(line: str) -> Event:
    """The event a line holds. Raises ValueError when the line is not one."""
    try:
        raw: dict[str, Any] = json.loads(line)
        kind = KINDS[raw.pop("event")]
        event: Event = _build(kind, raw)
    except (KeyError, TypeError, AttributeError, RecursionError, json.JSONDecodeError) as error:
        raise ValueError(f"not an event line: {line[:80]!r}") from error
    return event


def _build(kind: type[Event], raw: dict[str, Any]) -> Event:
    hints = typing.get_type_hints(kind)
    values = {f.name: raw[f.name] if hints[f.name] == Picture else from_plain(hints[f.name], raw[f.name])
              for f in dataclasses.fields(kind) if f.name in raw}  # fmt: skip
    return kind(**values)


class Control:
    """How a caller steers a running audit: stop early, cancel, or set a deadline.

    Stages look at it between steps. `stop()` makes the stage finish with its best so far;
    `cancel()` raises Cancelled at the next look; `deadline` (time.monotonic() seconds) acts
    like `stop()` once passed. Safe to call from another thread.
    """

    def __init__(self, time_budget_s: float | None = None) -> None:
        self.deadline = None if time_budget_s is None else time.monotonic() + time_budget_s
        self._stop = threading.Event()
        self._cancel = threading.Event()

    def stop(self) -> None:
        self._stop.set()

    def resume(self) -> None:
        """Forget an earlier `stop()`, so that a later stage runs in full."""
        self._stop.clear()

    def cancel(self) -> None:
        self._cancel.set()

    @property
    def out_of_time(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    @property
    def stop_requested(self) -> bool:
        """True when the stage should finish with what it has. Raises Cancelled on cancel."""
        if self._cancel.is_set():
            raise Cancelled("The audit was cancelled.", "Run the same command again to resume it.")
        return self._stop.is_set() or self.out_of_time


Result = typing.TypeVar("Result")


def drain(events: Generator[Event, None, Result]) -> Result:
    """Run a verb to its end and return its result, ignoring the events."""
    while True:
        try:
            next(events)
        except StopIteration as end:
            return typing.cast(Result, end.value)
