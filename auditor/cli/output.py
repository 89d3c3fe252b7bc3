"""Lines for people as text: plain for files and pipes, wrapped and styled for a terminal."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence

from auditor.cli import streams
from auditor.cli.paragraphs import Line, summary
from auditor.domain import AuditResult
from auditor.events import FileWritten
from auditor.request import Request

WIDEST = 110


def text(
    result: AuditResult, request: Request, written: Sequence[FileWritten] = (), *, with_errors: bool = True
) -> str:
    """The summary in plain lines, each ending in a newline; safe on any terminal."""
    return laid_out(summary(result, request, written, with_errors=with_errors))


def show_lines(lines: Sequence[Line]) -> None:
    """Print lines on stdout: wrapped and styled on a terminal, plain elsewhere. Raises OutputError."""
    if sys.stdout is None or not sys.stdout.isatty():
        streams.print_out(laid_out(lines))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        for line in lines:
            shown = laid_out([line], width=min(console.width, WIDEST)).rstrip("\n")
            console.print(Text(shown, style=line.style), soft_wrap=True)
    streams.print_out(captured.get())


def laid_out(lines: Sequence[Line], *, width: int | None = None) -> str:
    """The lines as text; with a width, long ones continue below their own start."""
    done = []
    for line in lines:
        said = " ".join(part for piece in line.text.splitlines() for part in streams.safe_lines(piece, 4000))
        start = " " * line.indent + line.lead
        if width is None or not said:
            done.append((start + said).rstrip())
            continue
        done.append(
            textwrap.fill(
                said, max(width, line.indent + 30), initial_indent=start, subsequent_indent=" " * len(start),
                break_long_words=False, break_on_hyphens=False,
            )
        )  # fmt: skip
    return "\n".join(done) + "\n"
