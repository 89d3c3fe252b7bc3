"""Silence for libraries that print, warn and log while they work."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast

# The streams are the process's own: two threads restoring them in the wrong order would leave one muted.
_ONE_AT_A_TIME = threading.Lock()


class _WithoutThread:
    """A text stream that drops what one thread writes, so that a progress bar in another goes on."""

    def __init__(self, stream: TextIO, thread: int) -> None:
        self._stream = stream
        self._thread = thread

    def write(self, text: str) -> int:
        return len(text) if threading.get_ident() == self._thread else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def hushed() -> Iterator[None]:
    """Nothing that this thread prints or warns about in the block is shown; logging is off everywhere.

    Writes of compiled code straight to the descriptors are not caught.
    """
    here = threading.get_ident()
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        try:
            out = cast(TextIO, _WithoutThread(sys.stdout, here))
            err = cast(TextIO, _WithoutThread(sys.stderr, here))
            with redirect_stdout(out), redirect_stderr(err):
                yield
        finally:
            logging.disable(level)
