"""Writing to stdout, stderr and files, whatever is at the other end of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TextIO

from auditor.errors import AuditorError, OutputError, printable
from auditor.files import write_bytes

# Typographic spaces and the minus sign are for paper; a terminal user searches for plain ones.
_PLAIN = str.maketrans({"\N{NO-BREAK SPACE}": " ", "\N{NARROW NO-BREAK SPACE}": " ", "\N{MINUS SIGN}": "-"})


def plain(text: str) -> str:
    """The text with ordinary spaces and hyphens."""
    return text.translate(_PLAIN)


def safe_lines(text: object, limit: int = 2000) -> list[str]:
    """The lines of a text from anywhere, each safe to show on a terminal."""
    return [printable(line, limit) for line in plain(str(text)).splitlines()]


def print_out(text: str, encoding: str | None = None) -> None:
    """Write to stdout at once. A reader that has left is no error; a full disk is.

    What the encoding cannot express becomes its backslash escape. Raises OutputError.
    """
    stream = sys.stdout
    if stream is None:
        return
    try:
        buffer = getattr(stream, "buffer", None)
        if buffer is None:
            stream.write(text)
        else:
            stream.flush()
            buffer.write(text.encode(encoding or stream.encoding or "utf-8", "backslashreplace"))
        stream.flush()
    except BrokenPipeError:
        _point_to_nothing(stream)
    except OSError as error:
        _point_to_nothing(stream)
        raise OutputError(f"The result cannot be printed: {error.strerror}.", "Check where stdout leads.") from error


def print_error(text: str) -> None:
    """Write a line to stderr, if anybody can read it."""
    stream = sys.stderr
    if stream is None:
        return
    try:
        encoding = stream.encoding or "utf-8"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        stream.flush()
    except BrokenPipeError:
        _point_to_nothing(stream)
    except (OSError, ValueError):
        return


def report_error(verb: str, error: AuditorError) -> None:
    """Say on stderr what happened and the next step."""
    report(verb, error.what, error.next_step)


def report(verb: str, what: str, next_step: str) -> None:
    name = f"auditor {verb}".strip()
    lines = safe_lines(what) or ["An error without a message."]
    print_error("\n".join([f"{name}: {lines[0]}", *(f"  {line}" for line in [*lines[1:], *safe_lines(next_step)])]))


def write_file(path: Path, text: str) -> None:
    """Put the whole text in place at once. Raises OutputError."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def _point_to_nothing(stream: TextIO) -> None:
    """Let the interpreter's last flush succeed: it would report the broken pipe again."""
    try:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
    except (OSError, ValueError):
        return
