"""The verbs that audit: what each takes and says about itself; `running` does the work."""

from __future__ import annotations

import typer

from auditor.cli import flags
from auditor.cli.flags import Values
from auditor.cli.running import run_verb

_EXIT_CODES = """\
Exit codes:
  0  {met}
  1  {found}
  2  could not run: usage, input, device or output
  3  inconclusive
  4  the file cannot be opened safely
  130  interrupted"""


def epilog(examples: str, exit_codes: str) -> str:
    """The end of a verb's help."""
    listed = "\n".join(f"  {line}" for line in examples.strip().splitlines())
    return f"Examples:\n{listed}\n\n{exit_codes}"


def _judging(met: str, found: str) -> str:
    return _EXIT_CODES.format(met=met, found=found)


@flags.takes(flags.MODEL, flags.IMAGES, flags.TARGETS, flags.SEARCH, flags.MACHINE, flags.STREAMS)
def scan(chosen: Values) -> int:
    """Say whether a checkpoint has a backdoor: a verdict only, for CI."""
    return run_verb("scan", chosen)


@flags.takes(
    flags.MODEL, flags.IMAGES, flags.TARGETS, flags.SEARCH, flags.UNLEARN, flags.MACHINE, flags.RUN_FOLDER,
    flags.FORCE, flags.STREAMS,
)  # fmt: skip
def audit(chosen: Values) -> int:
    """Scan, unlearn what is found, verify, export and report: everything, into a run folder."""
    return run_verb("audit", chosen)


@flags.takes(
    flags.MODEL, flags.IMAGES, flags.TARGETS, flags.TRIGGER, flags.SEARCH, flags.UNLEARN, flags.MACHINE,
    flags.RUN_FOLDER, flags.FORCE, flags.STREAMS,
)  # fmt: skip
def sanitize(chosen: Values) -> int:
    """Unlearn a backdoor that is known to be there, verify, export and report."""
    return run_verb("sanitize", chosen)


@flags.takes(flags.MODEL, flags.AGAINST, flags.IMAGES, flags.SEARCH, flags.MACHINE, flags.STREAMS)
def verify(chosen: Values) -> int:
    """Measure a model afresh against the triggers of a run, and search it again."""
    return run_verb("verify", chosen)


@flags.takes(
    flags.MODEL, flags.IMAGES, flags.EMBED, flags.MACHINE, flags.ONNX_FILE, flags.FORCE, flags.STREAMS
)  # fmt: skip
def export(chosen: Values) -> int:
    """Write a checkpoint as ONNX, without auditing it; the file says so in its metadata."""
    return run_verb("export", chosen)


def register(app: typer.Typer) -> None:
    """Add the verbs to the app, in the order of a person's work."""
    app.command("scan", epilog=epilog(
        "auditor scan model.pt --clean images/\n"
        "auditor scan model.pt --clean images.npz --arch cifar:resnet20\n"
        "auditor scan model.pt --clean images/ --format json=result.json",
        _judging("no evidence of a backdoor", "backdoor found")))(scan)  # fmt: skip
    app.command("audit", epilog=epilog(
        "auditor audit model.pt --clean images/ -o runs/model\n"
        "auditor audit model.pt --clean images/ -o runs/model --time-budget 20m",
        _judging("no evidence, or sanitized and passed", "backdoor found and not removed")))(audit)  # fmt: skip
    app.command("sanitize", epilog=epilog(
        "auditor sanitize model.pt --clean images/ --targets 3 -o runs/model\n"
        "auditor sanitize model.pt --clean images/ --trigger t.npz -o runs/model",
        _judging("sanitized and passed, or no evidence", "not removed")))(sanitize)  # fmt: skip
    app.command("verify", epilog=epilog(
        "auditor verify other.safetensors --against runs/model --clean images/",
        _judging("the run's triggers are dead", "a trigger still works")))(verify)  # fmt: skip
    app.command("export", epilog=epilog(
        "auditor export model.pt -o model.onnx\n"
        "auditor export model.pt -o model.onnx --normalize cifar10",
        "Exit codes:\n  0  done\n  2  could not run\n  3  the architecture cannot be told\n"
        "  4  the file cannot be opened safely\n  130  interrupted"))(export)  # fmt: skip
