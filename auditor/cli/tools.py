"""The verbs beside the audit: report, inspect, tui, doctor, schema."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import typer

from auditor.cli import flags, interrupts, output, streams, values
from auditor.cli.flags import Values, argument, flag
from auditor.cli.paragraphs import Line
from auditor.cli.running import conclude, deliver, stopped
from auditor.cli.verbs import epilog
from auditor.domain import AuditResult
from auditor.errors import UsageError
from auditor.request import Request

_DONE_OR_NOT = "Exit codes:\n  0  done\n  2  could not run\n  130  interrupted"
_SEALED_AFTER = ("report.html", "report.pdf")


@flags.takes(
    argument("run", "The run folder that `auditor audit -o` wrote."),
    flag("no_pdf", bool, "Output", "Write report.html only.", default=False),
    flags.STREAMS,
)
def report(chosen: Values) -> int:
    """Render a run's report again, from its result.json and evidence."""
    run = Path(chosen["run"])
    request = Request(model=chosen["run"], output=chosen["run"], argv=chosen["argv"])

    def render() -> tuple[AuditResult, list[Line]]:
        from auditor.report import render as render_report
        from auditor.report.reading import read_result

        changed = _changed_files(run)
        rendered = render_report(run, pdf=not chosen["no_pdf"])
        result = read_result(run / "result.json").result
        _seal_again(run, changed)
        written = [Line(text=str(rendered.html), lead="report  ")]
        if rendered.pdf is not None:
            written.append(Line(text=str(rendered.pdf), lead="report  "))
        elif not chosen["no_pdf"]:
            streams.report("report", *rendered.message.partition("\n")[::2])
        return result, written

    return _finish("report", chosen, request, render, exit_code=0)


def _changed_files(run: Path) -> list[str]:
    """What the seal says was changed in a run folder, the reports aside; each is said on stderr."""
    from auditor.runs.seal import verify_seal

    if not run.is_dir():
        return []
    changed = [problem for problem in verify_seal(run) if not problem.startswith(_SEALED_AFTER)]
    for problem in changed:
        streams.print_error("auditor report: warning: " + " ".join(streams.safe_lines(problem)))
    return changed


def _seal_again(run: Path, changed: list[str]) -> None:
    """Renew the checksums, which the new report would break; never over files that were changed."""
    from auditor.runs.seal import write_seal

    if not changed:
        write_seal(run)


@flags.takes(argument("file", "The checkpoint to look at."), flags.STREAMS)
def inspect(chosen: Values) -> int:
    """Show what a checkpoint file is and holds, without opening it."""
    from auditor.cli import inspection

    request = Request(model=chosen["file"], argv=chosen["argv"])

    def look() -> tuple[AuditResult, list[Line]]:
        result = inspection.inspect(request)
        return result, list(inspection.lines(result))

    return _finish("inspect", chosen, request, look)


def _finish(
    verb: str,
    chosen: Values,
    request: Request,
    work: Callable[[], tuple[AuditResult, list[Line]]],
    *,
    exit_code: int | None = None,
) -> int:
    """Do the work and print its lines, or its result as JSON; an error becomes a result like any other.

    `exit_code` is that of work which succeeds; None takes the result's own.
    """
    outputs = values.outputs("--format", chosen["format"])
    try:
        with interrupts.steered(None, streams.print_error):
            result, lines = work()
    except UsageError:
        raise
    except BaseException as error:
        return conclude(verb, stopped(request, error, chosen["verbose"]), request, outputs)
    code = (result.run.exit_code if exit_code is None else exit_code) or 0
    for found in result.errors if code else ():
        streams.report(verb, found.what, found.next_step)
    return deliver(verb, outputs, result, lambda *_: lines, code)


@flags.takes(argument("path", "A checkpoint to audit, or a run folder to look at.", kind=str | None, default=None))
def tui(chosen: Values) -> int:
    """Audit interactively in the terminal."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stdout and sys.stdout.isatty()):
        raise UsageError("The interactive screen needs a terminal.", "In a script, use `auditor audit`.")
    from auditor.tui.starting import run

    return int(run(chosen["path"]) or 0)


@flags.takes(flags.FORMAT)
def doctor(chosen: Values) -> int:
    """Check that this machine can run audits, and say what is missing."""
    from auditor.cli import doctor as doctor_

    outputs = values.outputs("--format", chosen["format"])
    with interrupts.steered(None, streams.print_error):
        checks = doctor_.examine()
    as_json = json.dumps(doctor_.to_plain(checks), indent=2, ensure_ascii=False) + "\n"
    lines = doctor_.lines(checks)
    if outputs.stdout == "json":
        streams.print_out(as_json, encoding="utf-8")
    else:
        output.show_lines(lines)
    for format_name, path in outputs.files:
        streams.write_file(path, as_json if format_name == "json" else output.laid_out(lines))
    return 0 if doctor_.core_works(checks) else 2


@flags.takes()
def schema(_: Values) -> int:
    """Print the JSON Schema of result.json."""
    from auditor.cli.schema import result_schema_text

    streams.print_out(result_schema_text(), encoding="utf-8")
    return 0


def register(app: typer.Typer) -> None:
    """Add the verbs to the app."""
    app.command("report", epilog=epilog("auditor report runs/model\nauditor report runs/model --no-pdf",
                                        _DONE_OR_NOT))(report)  # fmt: skip
    app.command("inspect", epilog=epilog(
        "auditor inspect model.pt\nauditor inspect model.pt --format json",
        "Exit codes:\n  0  can be opened safely\n  2  cannot be read\n  4  dangerous, broken or of unknown format\n"
        "  130  interrupted"))(inspect)  # fmt: skip
    app.command("tui", epilog=epilog("auditor tui\nauditor tui model.pt\nauditor tui runs/model",
                                     "Exit codes:\n  0  done\n  2  could not run"))(tui)  # fmt: skip
    app.command("doctor", epilog=epilog("auditor doctor\nauditor doctor --format json",
                                        "Exit codes:\n  0  audits can run\n  2  they cannot"))(doctor)  # fmt: skip
    app.command("schema", epilog=epilog("auditor schema > result.schema.json",
                                        "Exit codes:\n  0  done"))(schema)  # fmt: skip
