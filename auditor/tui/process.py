"""A verb in a process of its own: the interface stays quick, and a step that hangs can be ended.

The process gets its wishes and sends its events over a pipe. When the interface is gone, however
that came, the pipe ends: the process then cancels its verb, which leaves a run that can be resumed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Generator
from contextlib import redirect_stderr, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Literal

from auditor.domain import AuditResult, ErrorRecord
from auditor.errors import AuditorError, Cancelled
from auditor.events import Control, Event
from auditor.request import Request

POLL_S = 0.05
CANCEL_GRACE_S = 1.5
ORPHAN_GRACE_S = 20.0
NICENESS = 5
Wish = Literal["", "stop", "cancel"]


def process_stream(verb: str, request: Request, control: Control) -> Generator[Event, None, AuditResult]:
    """The library's verb, run in a process that ends with this generator.

    Raises the verb's own error, and Cancelled when a cancelled verb did not end in time.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=_work, args=(verb, request, there), name="auditor-verb", daemon=True)
    start_tracker()
    child.start()
    there.close()
    try:
        return (yield from _follow(here, child, control))
    finally:
        here.close()
        _end(child)


def start_tracker() -> None:
    """Start multiprocessing's resource tracker, once.

    It is handed the standard error's file number, and Textual's stand-in for that has none (-1).
    """
    with redirect_stderr(sys.__stderr__):
        resource_tracker.ensure_running()


def _follow(here: Connection, child: SpawnProcess, control: Control) -> Generator[Event, None, AuditResult]:
    said: Wish = ""
    overdue_at = float("inf")
    while time.monotonic() < overdue_at:
        wish = _wish(control)
        if wish != said:
            with suppress(OSError):
                here.send(wish)
            overdue_at = time.monotonic() + CANCEL_GRACE_S if wish == "cancel" else overdue_at
            said = wish
        if not here.poll(POLL_S):
            continue
        try:
            kind, value = here.recv()
        except (EOFError, OSError):
            child.join(POLL_S)
            raise AuditorError(f"The audit's process ended unexpectedly (code {child.exitcode}).",
                               "It may have run out of memory. Resume it, or use a quicker search.") from None  # fmt: skip
        if kind == "result":
            result: AuditResult = value
            return result
        if kind == "error":
            raise _as_error(value)
        yield value
    raise Cancelled("The audit was cancelled in the middle of a long step.", "Run it again to resume.")


def _wish(control: Control) -> Wish:
    try:
        return "stop" if control.stop_requested else ""
    except Cancelled:
        return "cancel"


def _as_error(record: ErrorRecord) -> AuditorError:
    error = AuditorError(record.what, record.next_step)
    error.kind = record.kind
    return error


def _end(child: SpawnProcess) -> None:
    """A verb that has sent its last word ends by itself; one that was given up is ended."""
    child.join(POLL_S)
    if child.is_alive():
        child.kill()
    child.join(CANCEL_GRACE_S)


def _work(verb: str, request: Request, there: Connection) -> None:
    """The process: runs the verb and sends all there is to say, behind the interface where both want a core."""
    _be_quiet()
    os.nice(NICENESS)
    control = Control(request.time_budget_s)
    threading.Thread(target=_obey, args=(there, control), daemon=True).start()
    from auditor.tui.producing import library_stream, produce

    result, errors = produce(
        library_stream, verb, request, control, post=lambda event: _send(there, "event", event), is_abandoned=lambda: False
    )  # fmt: skip
    if result is not None:
        _send(there, "result", result)
    for error in errors[:1]:
        _send(there, "error", error)


def _send(there: Connection, kind: str, value: Any) -> None:
    """Nobody listens once the interface has gone; the verb is then cancelled, and its end is not waited for."""
    with suppress(OSError):
        there.send((kind, value))


def _obey(there: Connection, control: Control) -> None:
    """Steer the verb as told; the end of the pipe means that the interface has gone."""
    while True:
        try:
            wish = there.recv()
        except (EOFError, OSError):
            control.cancel()
            time.sleep(ORPHAN_GRACE_S)
            os._exit(Cancelled.exit_code)
        if wish == "cancel":
            control.cancel()
        elif wish == "stop":
            control.stop()
        else:
            control.resume()


def _be_quiet() -> None:
    """Leave the terminal and its signals to the interface."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)
