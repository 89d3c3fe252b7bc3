"""The `auditor` command: finds the verb, runs it, and turns whatever happens into an exit code."""

from __future__ import annotations

import sys
import traceback
from typing import Annotated, Any

import typer

from auditor.cli import streams, tools, verbs
from auditor.cli.running import version_of
from auditor.errors import AuditorError, UsageError, printable

USAGE, INTERNAL, INTERRUPTED = 2, 2, 130

app = typer.Typer(
    name="auditor",
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=verbs.epilog(
        "auditor scan model.pt --clean images/\n"
        "auditor audit model.pt --clean images/ -o runs/model\n"
        "auditor VERB --help",
        "Exit codes:\n  0  policy met\n  1  backdoor found and not removed\n  2  could not run\n  3  inconclusive\n"
        "  4  the file cannot be opened safely\n  130  interrupted",
    ),
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        streams.print_out(f"auditor {version_of('auditor')}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", metavar="", callback=_print_version, is_eager=True, help="Show it and exit."),
    ] = False,
) -> None:
    """Audit image-classifier checkpoints for backdoors, unlearn what is found, and sign off on the result."""


verbs.register(app)
tools.register(app)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code. Raises nothing."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        return _run(arguments)
    except typer.TyperException as error:
        return _usage_error(error.format_message(), "", _verb(arguments))
    except UsageError as error:
        return _usage_error(error.what, error.next_step, _verb(arguments))
    except AuditorError as error:
        streams.report_error(_verb(arguments), error)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        streams.print_error("auditor: interrupted")
        return INTERRUPTED
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):
            return 0  # help, the one thing rich prints for us, into a pipe that was closed
        return error.code if isinstance(error.code, int) else INTERNAL
    except Exception as error:
        return _internal_error(error, arguments)


def _run(arguments: list[str]) -> int:
    command: Any = typer.main.get_command(app)
    if not arguments:
        command.main(args=["--help"], prog_name="auditor", standalone_mode=False)
        return USAGE
    code = command.main(args=arguments, prog_name="auditor", standalone_mode=False, obj=["auditor", *arguments])
    return code if isinstance(code, int) else 0


def _usage_error(what: str, next_step: str, verb: str) -> int:
    """One line on what is wrong, a hint where there is one, and where help is."""
    said = " ".join(what.replace("Value error, ", "").split())
    help_for = f"auditor {verb} --help" if verb else "auditor --help"
    hint = " ".join(part for part in (next_step, f"See `{help_for}`.") if part)
    streams.report(verb, said or "The command line cannot be read.", hint)
    return USAGE


def _internal_error(error: Exception, arguments: list[str]) -> int:
    what = f"Internal error: {type(error).__name__}: {printable(error, 400)}"
    streams.report(_verb(arguments), what, "Please report it with this line and what `auditor doctor` says; "
                                           "-vv shows the traceback.")  # fmt: skip
    if any(a.startswith("-v") and a.count("v") >= 2 for a in arguments):
        for line in traceback.format_exception(error):
            streams.print_error("\n".join(streams.safe_lines(line.rstrip("\n"))))
    return INTERNAL


def _verb(arguments: list[str]) -> str:
    """The verb of a command line, or nothing when it names none of ours."""
    named = next((argument for argument in arguments if not argument.startswith("-")), "")
    known = {command.name for command in app.registered_commands}
    return named if named in known else ""


def entry_point() -> None:
    """The console script: exits with the code of `main`."""
    sys.exit(main())
