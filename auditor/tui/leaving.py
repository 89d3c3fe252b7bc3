"""Ends the process soon after the interface closes, whatever a worker thread is doing."""

from __future__ import annotations

import asyncio
import os
import threading

from textual.app import App

CANCEL_WITHIN_S = 2.0


async def run_and_leave(app: App[int]) -> int:
    """Run the application; the exit code.

    Python waits for threads at its end. A worker in a long step gets `CANCEL_WITHIN_S` and no more:
    the terminal is restored by then, and a run folder can be resumed after a kill at any point.
    """
    code = await app.run_async()
    code = app.return_code if code is None else code
    watchdog = threading.Timer(CANCEL_WITHIN_S, os._exit, [code or 0])
    watchdog.daemon = True
    watchdog.start()
    await asyncio.get_running_loop().shutdown_default_executor()
    watchdog.cancel()
    return code or 0
