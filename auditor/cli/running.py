"""Runs a verb of the library from the command line: events to progress, the end to an exit code."""

from __future__ import annotations

import platform
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata

from auditor.cli import flags, interrupts, output, progress, streams, values
from auditor.cli.paragraphs import Line, summary
from auditor.domain import SCHEMA_VERSION, AuditResult, ErrorRecord, Run, Tool
from auditor.errors import AuditorError, Cancelled, InputError, UsageError
from auditor.events import Control, Event, FileWritten, Notice
from auditor.plain import to_json
from auditor.request import Request

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
    """Show every event, and return the result at the end of them.

    Errors wait for the end: those that are in the result will be said from there.
    """
    errors: list[Notice] = []
    try:
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                result: AuditResult = end.value
                break
            match event:
                case Notice(level="error"):
                    errors.append(event)
                    continue
                case FileWritten():
                    written.append(event)
            shown.show(event)
    finally:
        events.close()
    said = [record.what for record in result.errors]
    for notice in errors:
        if not any(what in notice.message for what in said):
            shown.show(notice)
    return result


def conclude(
    verb: str, result: AuditResult, request: Request, outputs: values.Outputs, written: Sequence[FileWritten] = ()
) -> int:
    """Say the errors of a result, print it as asked and return its exit code."""
    code = INTERNAL if result.run.exit_code is None else result.run.exit_code
    for error in result.errors:
        streams.report(verb, error.what, error.next_step)

    def lines_of(whole: AuditResult, with_errors: bool) -> list[Line]:
        return summary(whole, request, written, with_errors=with_errors)

    return deliver(verb, outputs, result, lines_of, code)


def deliver(
    verb: str, outputs: values.Outputs, result: AuditResult, lines_of: Callable[[AuditResult, bool], list[Line]],
    code: int,
) -> int:  # fmt: skip
    """Write the files asked for and print; returns `code`, or 2 when a file or stdout cannot be written.

    `lines_of` makes the text of a result, with its errors for a file and without for stdout, as
    stderr has them. A file that fails becomes an error of the result, so that what is printed says so too.
    """
    try:
        for format_name, path in outputs.files:
            as_text = to_json(result) if format_name == "json" else output.laid_out(lines_of(result, True))
            streams.write_file(path, as_text)
    except AuditorError as error:
        streams.report_error(verb, error)
        result, code = with_error(result, error), error.exit_code
    try:
        if outputs.stdout == "json":
            streams.print_out(to_json(result), encoding="utf-8")
        else:
            output.show_lines(lines_of(result, False))
    except AuditorError as error:
        streams.report_error(verb, error)
        return error.exit_code
    return code


def with_error(result: AuditResult, error: AuditorError) -> AuditResult:
    """The result with one more error, and the exit code of that."""
    record = ErrorRecord(kind=error.kind, what=error.what, next_step=error.next_step)
    run = replace(result.run, exit_code=error.exit_code)
    return replace(result, run=run, errors=[*result.errors, record])


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
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            what = f"{where}{error.strerror or type(error).__name__}."
            named = InputError(what, "Check the path and its permissions.")
        case MemoryError():
            named = AuditorError("Out of memory.", "Use a smaller --profile, fewer images or a larger machine.")
        case Exception() | SystemExit():
            named = AuditorError(f"Internal error: {type(error).__name__}: {error}", _HOW_TO_REPORT)
        case _:
            raise error
    if verbosity >= 2:
        for line in traceback.format_exception(error):
            streams.print_error("\n".join(streams.safe_lines(line.rstrip("\n"))))
    return with_error(bare_result(request), named)


def bare_result(request: Request) -> AuditResult:
    """A result of no audit: the tool and the run, done, and nothing found."""
    return AuditResult(
        schema_version=SCHEMA_VERSION,
        tool=Tool(
            name="auditor",
            version=version_of("auditor"),
            python=platform.python_version(),
            torch=version_of("torch"),
            platform=platform.platform(terse=True),
        ),
        run=Run(
            argv=request.argv,
            seed=request.seed,
            device=request.device,
            dtype="float32",
            threads=request.threads or 0,
            profile=request.profile,
            started=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            exit_code=0,
        ),
    )


def version_of(distribution: str) -> str:
    """The installed version, read without importing it; empty when it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
