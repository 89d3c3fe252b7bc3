"""Opens a finished run folder, which may come from anyone, as the state its audit left."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from auditor.domain import Request
from auditor.errors import AuditorError, InputError, printable
from auditor.events import Event, Notice, SearchStep, UnlearnStep, VerdictReached
from auditor.plain import to_plain
from auditor.report.reading import build, read_result
from auditor.runs import load_picture, read_events
from auditor.tui.state import RunState

MOST_EVENTS = 20_000
_FIELDS = {SearchStep: "picture", UnlearnStep: "heat_maps"}


def is_run(path: Path) -> bool:
    """Whether the folder holds the result of an audit."""
    return (path / "result.json").is_file()


def replay(folder: Path) -> RunState:
    """The state of a run after its last event. Raises InputError when there is no readable result."""
    result = read_result(folder / "result.json").result
    artifact = result.artifact.path if result.artifact else ""
    state = RunState(Request(model=artifact, output=str(folder), seed=result.run.seed))
    state.is_replay = True
    try:
        for event in _loaded(folder, read_events(folder / "events.jsonl")):
            state.follow(event)
    except (AuditorError, OSError, ValueError, TypeError, AttributeError) as error:
        state.follow(Notice(message=f"the event log is not complete: {printable(error)}", level="warning"))
    state.finish(result)
    return state


def _loaded(folder: Path, events: Iterator[Event]) -> Iterator[Event]:
    """The events with the arrays that they name in place, the last few only: those are shown."""
    kept = [event for _, event in zip(range(MOST_EVENTS), events, strict=False) if _is_sound(event)]
    wanted = _last_pictures(kept)
    for index, event in enumerate(kept):
        name = _FIELDS.get(type(event))
        yield event if name is None else _with_picture(folder, event, name, index in wanted)


def _is_sound(event: Event) -> bool:
    """Whether every value is of its field's type; arrays and the files they name are checked when loaded."""
    name = _FIELDS.get(type(event))
    bare = event if name is None else dataclasses.replace(event, **{name: None})  # type: ignore[arg-type]
    try:
        build(type(event), to_plain(bare), "event")
    except (ValueError, TypeError, RecursionError):
        return False
    return True


def _last_pictures(events: list[Event]) -> set[int]:
    """The index of the last picture of each family and class before the verdict, and of the last heat-maps."""
    last: dict[object, int] = {}
    is_searching = True
    for index, event in enumerate(events):
        if isinstance(event, VerdictReached):
            is_searching = False
        elif isinstance(event, SearchStep) and event.picture is not None and is_searching:
            last[event.family, event.picture_class] = index
        elif isinstance(event, UnlearnStep) and event.heat_maps is not None:
            last["heat_maps"] = index
    return set(sorted(last.values())[-64:])


def _with_picture(folder: Path, event: Event, name: str, is_wanted: bool) -> Event:
    relative = getattr(event, name)
    picture = None
    if is_wanted and isinstance(relative, str):
        try:
            picture = load_picture(folder, relative)
        except (InputError, OSError):
            picture = None
    return dataclasses.replace(event, **{name: picture})  # type: ignore[arg-type]

