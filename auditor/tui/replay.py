"""Reads a recorded run folder, which may come from anyone: at once, or event by event at a chosen speed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator, Iterator
from pathlib import Path

from auditor.domain import AuditResult
from auditor.errors import AuditorError, InputError, printable
from auditor.events import Control, Event, Notice, ResultReached, SearchStep, UnlearnStep, VerdictReached
from auditor.plain import to_plain
from auditor.report.reading import build, read_result
from auditor.request import Request
from auditor.runs import load_picture, read_events
from auditor.tui.evidence import load_evidence
from auditor.tui.state import RunState

MOST_EVENTS = 200_000
MOST_PICTURES = 64
LONGEST_GAP_S = 20.0
SLICE_S = 0.05
SPEEDS = (1.0, 4.0, 16.0, 64.0, 1000.0)
_FIELDS = {SearchStep: "picture", UnlearnStep: "heat_maps"}
_TROUBLES = (AuditorError, OSError, ValueError, TypeError, AttributeError)


class Tempo:
    """How fast a replay goes; changed by keys while a worker reads it."""

    def __init__(self, speed: float = 16.0) -> None:
        self.speed = speed
        self.is_paused = False

    def faster(self) -> None:
        self.speed = next((speed for speed in SPEEDS if speed > self.speed), SPEEDS[-1])

    def slower(self) -> None:
        self.speed = next((speed for speed in reversed(SPEEDS) if speed < self.speed), SPEEDS[0])

    def toggle(self) -> None:
        self.is_paused = not self.is_paused

    @property
    def words(self) -> str:
        return "paused" if self.is_paused else f"{self.speed:g}x"


def is_run(path: Path) -> bool:
    """Whether the folder holds the result of an audit."""
    return (path / "result.json").is_file()


def replay(folder: Path) -> RunState:
    """The state of a run after its last event. Raises InputError when there is no readable result."""
    result = read_result(folder / "result.json").result
    state = state_of(folder, result)
    try:
        wanted = _last_pictures(folder)
        for number, event in enumerate(_sound(folder)):
            if not isinstance(event, ResultReached):  # the file holds the last one
                state.follow(_with_picture(folder, event, number in wanted))
    except _TROUBLES as error:
        state.follow(Notice(message=f"the event log is not complete: {printable(error)}", level="warning"))
    state.finish(result, evidence=load_evidence(folder, result))
    return state


def state_of(folder: Path, result: AuditResult) -> RunState:
    """The state before the first event of a recorded run."""
    artifact = result.artifact.path if result.artifact else ""
    state = RunState(Request(model=artifact, output=str(folder), seed=result.run.seed))
    state.is_replay = True
    return state


def paced(folder: Path, tempo: Tempo, control: Control) -> Generator[Event, None, AuditResult]:
    """The events of a run as they came, faster by the tempo; ends with its result, and early on stop.

    Raises InputError when there is no readable result, and Cancelled on cancel.
    """
    result = read_result(folder / "result.json").result
    at_s = 0.0
    try:
        for event in recorded_events(folder):
            due_s = max(at_s, event.at_s)
            at_s = max(at_s, due_s - LONGEST_GAP_S)
            while at_s < due_s and not control.stop_requested:
                at_s += _sleep(tempo, due_s - at_s)
            at_s = due_s
            yield event
    except (OSError, ValueError, TypeError, AttributeError) as error:
        yield Notice(message=f"the event log is not complete: {printable(error)}", level="warning")
    return result


def recorded_events(folder: Path) -> Iterator[Event]:
    """The events of a log with their pictures; what is not sound is left out. Raises as `read_events` does."""
    return (_with_picture(folder, event, True) for event in _sound(folder))


def _sleep(tempo: Tempo, left_s: float) -> float:
    """Wait a little; the seconds of the run that have gone by."""
    if tempo.is_paused:
        time.sleep(SLICE_S)
        return 0.0
    speed = tempo.speed
    time.sleep(min(SLICE_S, left_s / speed))
    return min(SLICE_S * speed, left_s)


def _sound(folder: Path) -> Iterator[Event]:
    """The events of the log with every value of its field's type, the first `MOST_EVENTS` of them."""
    events = read_events(folder / "events.jsonl")
    for _, event in zip(range(MOST_EVENTS), events, strict=False):
        if _is_sound(event):
            yield event


def _is_sound(event: Event) -> bool:
    """Whether every value is of its field's type; arrays and the files they name are checked when loaded."""
    name = _FIELDS.get(type(event))
    bare = event if name is None else dataclasses.replace(event, **{name: None})  # type: ignore[arg-type]
    try:
        build(type(event), to_plain(bare), "event")
    except (ValueError, TypeError, RecursionError):
        return False
    return True


def _last_pictures(folder: Path) -> set[int]:
    """The place of the last picture of each family and class before the verdict, and of each attempt's heat-maps."""
    last: dict[object, int] = {}
    is_searching, before = True, 0
    for place, event in enumerate(_sound(folder)):
        if isinstance(event, VerdictReached):
            is_searching = False
        elif isinstance(event, SearchStep) and event.picture is not None and is_searching:
            last[event.family, event.picture_class] = place
        elif isinstance(event, UnlearnStep) and event.heat_maps is not None:
            if event.step <= before or "first" not in last:
                last["first"] = place
            before = event.step
            last["heat_maps"] = place
    return set(sorted(last.values())[-MOST_PICTURES:])


def _with_picture(folder: Path, event: Event, is_wanted: bool) -> Event:
    """The event with the array that it names in place, or none."""
    name = _FIELDS.get(type(event))
    if name is None:
        return event
    relative = getattr(event, name)
    picture = None
    if is_wanted and isinstance(relative, str):
        try:
            picture = load_picture(folder, relative)
        except (InputError, OSError):
            picture = None
    return dataclasses.replace(event, **{name: picture})  # type: ignore[arg-type]
