"""Runs a verb in a worker thread and hands on its events. Only here the library, and torch with it, is loaded."""

from __future__ import annotations

from collections.abc import Callable, Generator

from auditor.domain import AuditResult, ErrorRecord
from auditor.errors import AuditorError, printable
from auditor.events import Control, Event
from auditor.request import Request

Stream = Callable[[str, Request, Control], Generator[Event, None, AuditResult]]


def library_stream(verb: str, request: Request, control: Control) -> Generator[Event, None, AuditResult]:
    """The real verbs. Takes seconds to start: it loads torch."""
    from auditor.library import stream

    return (yield from stream(verb, request, control))


def produce(
    stream: Stream, verb: str, request: Request, control: Control, *, post: Callable[[Event], None],
    is_abandoned: Callable[[], bool],
) -> tuple[AuditResult | None, list[ErrorRecord]]:  # fmt: skip
    """Run a verb to its end, posting each event; its result, or what it raised as error records.

    Closes the verb and returns (None, []) once abandoned. Never raises an Exception: whatever happens
    in the thread is shown, and the terminal stays whole.
    """
    try:
        events = stream(verb, request, control)
        try:
            while not is_abandoned():
                try:
                    post(next(events))
                except StopIteration as end:
                    return end.value, []
        finally:
            events.close()
    except AuditorError as error:
        return None, [ErrorRecord(kind=error.kind, what=error.what, next_step=error.next_step)]
    except Exception as error:
        what = f"The audit met an error of its own: {type(error).__name__}: {printable(error)}"
        return None, [ErrorRecord(kind="internal", what=what, next_step="Run `auditor audit -vv` to see where.")]
    return None, []
