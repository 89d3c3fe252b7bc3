"""Ctrl-C and SIGTERM: once to finish cleanly, twice to leave at once.

The first signal only asks: the audit ends at its next step and leaves a run that can be
resumed. The second SIGINT unwinds from wherever it is, and ends the process if that hangs.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from auditor.events import Control

EXIT_CODE = 130
GRACE_S = 2.0
FIRST = "Finishing cleanly at the next step; press Ctrl-C again to leave at once."
SHOW_CURSOR = b"\x1b[?25h"


@contextmanager
def steered(control: Control | None, say: Callable[[str], None]) -> Iterator[None]:
    """Turn signals into `control.cancel()`; without a control, into KeyboardInterrupt at once.

    Signals that the process was told to ignore stay ignored, as under nohup. Outside the main
    thread nothing changes. The handlers before are back when the block ends.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = _Handler(control, say)
    before: dict[int, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
        yield
    finally:
        handler.disarm()
        for changed, previous in before.items():
            signal.signal(changed, signal.SIG_DFL if previous is None else previous)


class _Handler:
    def __init__(self, control: Control | None, say: Callable[[str], None]) -> None:
        self._control = control
        self._say = say
        self._asked = control is None
        self._announcement: threading.Thread | None = None
        self._last_resort: threading.Timer | None = None

    def __call__(self, number: int, _: FrameType | None) -> None:
        if not self._asked and self._control is not None:
            self._asked = True
            self._control.cancel()
            # The signal may have come in the middle of a write to the same stream, which cannot be entered twice.
            self._announcement = threading.Thread(target=self._say, args=(FIRST,), daemon=True)
            self._announcement.start()
            return
        if number == signal.SIGTERM and self._control is not None:
            return
        if self._last_resort is None:
            self._last_resort = threading.Timer(GRACE_S, _leave)
            self._last_resort.daemon = True
            self._last_resort.start()
        raise KeyboardInterrupt

    def disarm(self) -> None:
        if self._last_resort is not None:
            self._last_resort.cancel()
        if self._announcement is not None:
            self._announcement.join(GRACE_S)


def _leave() -> None:
    """End the process without unwinding it, but give a terminal its cursor back."""
    if os.isatty(2):
        os.write(2, SHOW_CURSOR)
    os._exit(EXIT_CODE)
