"""Ends the process soon after the interface closes, whatever a worker thread is doing, and without a traceback."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import threading
import traceback
from pathlib import Path

from rich.text import Text
from textual.app import App

from auditor.errors import printable

CANCEL_WITHIN_S = 2.0


async def run_and_leave(app: App[int]) -> int:
    """Run the application; the exit code.

    Python waits for threads at its end. A worker in a long step gets `CANCEL_WITHIN_S` and no more:
    the terminal is restored by then, and a run folder can be resumed after a kill at any point.
    """
    threading.Thread(target=end_with_terminal, args=(sys.stdin.fileno(),), daemon=True).start()
    code = await app.run_async()
    code = app.return_code if code is None else code
    watchdog = threading.Timer(CANCEL_WITHIN_S, os._exit, [code or 0])
    watchdog.daemon = True
    watchdog.start()
    await asyncio.get_running_loop().shutdown_default_executor()
    watchdog.cancel()
    return code or 0


def end_with_terminal(descriptor: int) -> None:
    """Hang up when the terminal is gone.

    The kernel does so where the terminal is the process's own. Under a supervisor it is not, and the
    interface would go on reading an end of file from it as fast as it can.
    """
    watched = select.poll()
    watched.register(descriptor, 0)  # a hang-up is told whatever is asked for
    if os.isatty(descriptor) and watched.poll():
        os.kill(os.getpid(), signal.SIGHUP)
        os._exit(128 + signal.SIGHUP)  # under nohup the signal is ignored


class Quiet(App[int]):
    """An application that ends with a sentence where Textual would show a traceback.

    `_fatal_error` is Textual's own name (8.2) for the last thing it does about an unhandled error.
    """

    def _fatal_error(self) -> None:
        error = self._exception
        where = traceback.extract_tb(error.__traceback__)[-1] if error is not None and error.__traceback__ else None
        place = f" ({Path(where.filename).name}, line {where.lineno})" if where is not None else ""
        self._exit_renderables.append(Text(
            f"The interface met an error of its own: {type(error).__name__}: {printable(error)}{place}.\n"
            "The run folder is whole: `auditor tui` or `auditor audit` with the same settings goes on from there."
        ))  # fmt: skip
        self._close_messages_no_wait()
