"""The event log of a run, `events.jsonl`: appended to, cut back to its last whole line, read back."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from auditor.errors import InputError, printable
from auditor.events import Event, decode, encode
from auditor.files import cannot_write, open_plain

MAX_LINE_BYTES = 4 * 2**20
_MAX_NUMBER = 2**53


class Journal:
    """Numbers, times and appends events; continues where the log at `path` ends.

    A last line that a kill tore is cut off, and so are unreadable lines at the end.
    Raises OSError or InputError when the file cannot be opened or is not a plain one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = open_plain(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            self.number, at_s = self._recover()
        except BaseException:
            self.close()
            raise
        self._began = time.monotonic() - at_s

    def _recover(self) -> tuple[int, float]:
        """Cut the log after its last good line; its number, and the latest time in the log."""
        number, at_s, end, good_end = 0, 0.0, 0, 0
        with os.fdopen(os.dup(self._descriptor), "rb") as stream:
            for line, length in _lines(stream):
                end += length
                event = _parse(line)
                if event is not None:
                    number, at_s, good_end = max(number, event.number), max(at_s, event.at_s), end
        os.ftruncate(self._descriptor, good_end)
        return number, at_s

    def stamp(self, event: Event) -> Event:
        """The event with the next number and the seconds since the run began, pauses left out."""
        return dataclasses.replace(event, number=self.number + 1, at_s=round(time.monotonic() - self._began, 4))

    def append(self, event: Event) -> None:
        """Add a stamped event. Raises OutputError, after removing what was written of it."""
        content = (encode(event) + "\n").encode("utf-8", "backslashreplace")
        end = os.fstat(self._descriptor).st_size
        try:
            while content:
                content = content[os.write(self._descriptor, content) :]
        except OSError as error:
            os.ftruncate(self._descriptor, end)
            raise cannot_write(self._path, error) from error
        self.number = event.number

    @property
    def is_closed(self) -> bool:
        return self._descriptor < 0

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


def read_events(path: Path) -> Iterator[Event]:
    """The events of an `events.jsonl`, in order; a torn last line is left out.

    The file may come from anyone. Raises InputError when it cannot be read, and ValueError, after
    the last event, when lines in it are not events.
    """
    try:
        stream = os.fdopen(open_plain(path, os.O_RDONLY), "rb")
    except OSError as error:
        raise InputError(f"{printable(path)} cannot be read: {error.strerror}.", "Check the path.") from error
    bad, first_bad, number = 0, 0, 0
    with stream:
        for number, (line, _) in enumerate(_lines(stream), start=1):
            event = _parse(line)
            if event is not None:
                yield event
            elif line.endswith(b"\n"):
                bad, first_bad = bad + 1, first_bad or number
    if bad:
        raise ValueError(f"{printable(path)}: {bad} of {number} lines are not events, the first is line {first_bad}")


def _lines(stream: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """Lines with their true length; what is beyond `MAX_LINE_BYTES` is replaced by a line end."""
    while line := stream.readline(MAX_LINE_BYTES):
        length = len(line)
        while not line.endswith(b"\n") and (more := stream.readline(MAX_LINE_BYTES)):
            length += len(more)
            line = b"\n" if more.endswith(b"\n") else b"?"
        yield line, length


def _parse(line: bytes) -> Event | None:
    """The event of a whole line with a usable number and time, or None."""
    if not line.endswith(b"\n"):
        return None
    try:
        event = decode(line.decode("utf-8"))
        is_usable = type(event.number) is int and 0 < event.number < _MAX_NUMBER and math.isfinite(event.at_s)
    except (ValueError, TypeError):
        return None
    return event if is_usable else None
