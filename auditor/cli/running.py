"""Runs a verb of the library from the command line: events to progress, the end to an exit code."""

from __future__ import annotations

import platform
import traceback
from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata

from auditor.cli import flags, interrupts, output, progress, streams, values
from auditor.domain import SCHEMA_VERSION, AuditResult, ErrorRecord, Request, Run, Tool
from auditor.errors import AuditorError, Cancelled, UsageError
from auditor.events import Control, Event, FileWritten

INTERNAL = 2
_HOW_TO_REPORT = "Please report it, with this line and what `auditor doctor` says; -vv shows the traceback."


def run_verb(verb: str, chosen: flags.Values) -> int:
    """Run a verb that the library streams, show its events and its result; returns the exit code.

    Raises UsageError.
    """
    outputs = values.outputs("--format", chosen.get("format"))
    request = flags.to_request(chosen)
    verbosity = int(chosen["verbose"])
    control = Control(request.time_budget_s)
    written: list[FileWritten] = []
    shown = progress.choose(quiet=bool(chosen["quiet"]), verbosity=verbosity)
    with shown, interrupts.steered(control, shown.say):
        try:
            from auditor.library import stream

            result = _follow(stream(verb, request, control), shown, written)
        except UsageError:
            raise
        except BaseException as error:
            shown.close()
            result = stopped(request, error, verbosity)
    return conclude(verb, result, request, outputs, written)


def _follow(
    events: Generator[Event, None, AuditResult], shown: progress.Progress, written: list[FileWritten]
) -> AuditResult:
    """Show every event, and return the result at the end of them."""
    try:
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                result: AuditResult = end.value
                return result
            if isinstance(event, FileWritten):
                written.append(event)
            shown.show(event)
    finally:
        events.close()


def conclude(
    verb: str, result: AuditResult, request: Request, outputs: values.Outputs, written: list[FileWritten]
) -> int:
    """Print the result as asked and return its exit code; an output that fails makes it 2."""
    code = INTERNAL if result.run.exit_code is None else result.run.exit_code
    for error in result.errors:
        streams.report(verb, error.what, error.next_step)
    try:
        for format_name, path in outputs.files:
            streams.write_file(path, output.render(format_name, result, request, written))
        output.show(outputs.stdout, result, request, written)
    except AuditorError as error:
        streams.report_error(verb, error)
        return error.exit_code
    return code


def stopped(request: Request, error: BaseException, verbosity: int) -> AuditResult:
    """The result of a run that `error` ended: a named error, an interrupt, or a fault of ours.

    Raises the error again when it is none of these. With verbosity 2 the
    traceback goes to stderr.
    """
    match error:
        case AuditorError():
            named = error
        case KeyboardInterrupt():
            named = Cancelled("Interrupted.", "Run the same command again; it resumes where it stopped.")
        case MemoryError():
            named = AuditorError("Out of memory.", "Use a smaller --profile, fewer images or a larger machine.")
        case Exception() | SystemExit():
            named = AuditorError(f"Internal error: {type(error).__name__}: {error}", _HOW_TO_REPORT)
        case _:
            raise error
    if verbosity >= 2:
        for line in traceback.format_exception(error):
            streams.print_error("\n".join(streams.safe_lines(line.rstrip("\n"))))
    record = ErrorRecord(kind=named.kind, what=named.what, next_step=named.next_step)
    return replace(bare_result(request), errors=[record], run=_run(request, named.exit_code))


def bare_result(request: Request, exit_code: int = 0) -> AuditResult:
    """A result of no audit: the tool, the run, and nothing found."""
    return AuditResult(
        schema_version=SCHEMA_VERSION,
        tool=Tool(
            name="auditor",
            version=version_of("auditor"),
            python=platform.python_version(),
            torch=version_of("torch"),
            platform=platform.platform(terse=True),
        ),
        run=_run(request, exit_code),
    )


def _run(request: Request, exit_code: int) -> Run:
    return Run(
        argv=request.argv,
        seed=request.seed,
        device=request.device,
        dtype="float32",
        threads=request.threads or 0,
        profile=request.profile,
        started=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        exit_code=exit_code,
    )


def version_of(distribution: str) -> str:
    """The installed version, read without importing it; empty when it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
