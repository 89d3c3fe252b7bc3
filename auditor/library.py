"""What users of the library call, and what the command line and the TUI drive.

    result = auditor.scan("model.pt", clean="images/")
    result = auditor.audit("model.pt", clean="images/", output="runs/model")

`stream` is the same as a generator of events.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.domain import AuditResult, ErrorRecord
from auditor.errors import AuditorError, Cancelled, UsageError, printable
from auditor.events import AuditFinished, Control, Event, FileWritten, Notice, drain
from auditor.request import Request

if TYPE_CHECKING:
    from torch import nn

    from auditor.images import CleanImages
    from auditor.suspect import Suspect

REPORTED = ("audit", "sanitize")
VERBS = ("scan", "audit", "sanitize", "verify", "export", "preflight")


def stream(
    verb: str, request: Request, control: Control | None = None, *, suspect: Suspect | None = None,
    clean: CleanImages | None = None,
) -> Generator[Event, None, AuditResult]:  # fmt: skip
    """Run a verb as a generator of events that ends with the result.

    Errors end up in the result with their exit code; only UsageError is raised, before the
    first event. `audit` and `sanitize` render the report at the end. `preflight` opens the model
    and says whether an audit can run.
    """
    from auditor import pipeline
    from auditor.unlearn import configured

    if verb not in VERBS:
        raise UsageError(f"There is no verb {printable(verb)!r}.", f"Verbs: {', '.join(VERBS)}.")
    if verb in REPORTED and request.output is None:
        raise UsageError(f"{verb} needs a run folder.", "Give one with -o RUN.")
    configured(request.method, request.settings)
    control = control or Control(request.time_budget_s)
    try:
        if verb == "verify":
            return (yield from _verify(request, control))
        session = pipeline.start(request, control, suspect=suspect, clean=clean, folder=verb != "export")
    except UsageError:
        raise
    except AuditorError as error:
        return (yield from _refused(request, error))
    body = {
        "scan": pipeline.scan, "audit": pipeline.audit, "sanitize": pipeline.sanitize, "export": pipeline.export_only,
        "preflight": pipeline.preflight,
    }[verb](session)  # fmt: skip
    result = yield from pipeline.run(session, body)
    if request.output is None or verb == "export":
        return result
    is_cancelled = result.run.exit_code == Cancelled.exit_code
    try:
        yield from _conclude(Path(request.output), with_report=verb in REPORTED and not is_cancelled)
    except AuditorError as error:
        yield Notice(message=str(error), level="error")
        return _with_error(result, error)
    return result


def _refused(request: Request, error: AuditorError) -> Generator[Event, None, AuditResult]:
    """The result of a request that could not start: nothing was written."""
    from auditor.pipeline.session import new_result

    yield Notice(message=str(error), level="error")
    yield AuditFinished(exit_code=error.exit_code, label="none")
    return _with_error(new_result(request, request.device), error)


def _with_error(result: AuditResult, error: AuditorError) -> AuditResult:
    record = ErrorRecord(kind=error.kind, what=error.what, next_step=error.next_step)
    return replace(result, errors=[*result.errors, record], run=replace(result.run, exit_code=error.exit_code))


def _conclude(folder: Path, *, with_report: bool) -> Generator[Event, None, None]:
    """Render the report and seal the folder: SHA256SUMS comes last."""
    from auditor import report
    from auditor.runs.seal import write_seal

    if with_report:
        rendered = report.render(folder)
        yield FileWritten(path=str(rendered.html), what="report")
        if rendered.pdf is not None:
            yield FileWritten(path=str(rendered.pdf), what="report")
        if rendered.pdf is None:
            yield Notice(message=rendered.message, level="warning")
    write_seal(folder)


def _verify(request: Request, control: Control) -> Generator[Event, None, AuditResult]:
    from auditor import pipeline
    from auditor.pipeline.rechecking import recheck, request_of
    from auditor.report.reading import read_result

    if request.against is None:
        raise UsageError("verify needs an earlier run.", "Give its folder with --against RUN.")
    folder = Path(request.against)
    earlier = read_result(folder / "result.json").result
    session = pipeline.start(request_of(request, earlier), control, folder=False)
    return (yield from pipeline.run(session, recheck(session, Path(request.model), earlier, folder)))


def scan(model: str | Path | nn.Module | Suspect, clean: Any = None, **flags: Any) -> AuditResult:
    """Reach a verdict on a checkpoint file, a module or a Suspect, with clean images.

    `clean` is a path, a CleanImages, or a pair of arrays (see CleanImages.from_arrays); `flags`
    are the fields of `request.Request`. For an nn.Module give `num_classes` and, unless it takes
    images in [0, 1], `normalize` or `mean` and `std`; it is copied, and left as it was. Errors end
    up in `result.errors`; only UsageError, for arguments that do not fit together, is raised.
    """
    return _call("scan", model, clean, flags)


def audit(model: str | Path | nn.Module | Suspect, clean: Any = None, *, output: str | Path, **flags: Any) -> AuditResult:
    """Audit end to end into the run folder `output`; see `scan` for the arguments."""
    return _call("audit", model, clean, flags | {"output": str(output)})


def sanitize(model: str | Path | nn.Module | Suspect, clean: Any = None, *, output: str | Path, **flags: Any) -> AuditResult:
    """Remove a backdoor that is known to be there; `trigger` names a trigger file. See `scan`."""
    return _call("sanitize", model, clean, flags | {"output": str(output)})


def _call(verb: str, model: Any, clean: Any, flags: dict[str, Any]) -> AuditResult:
    known = {f.name for f in fields(Request)}
    if unknown := sorted(set(flags) - known):
        raise UsageError(f"Unknown argument {unknown[0]!r}.", f"Known: {', '.join(sorted(known))}.")
    is_file = isinstance(model, str | Path)
    request = Request(
        model=str(model) if is_file else type(model).__name__,
        clean=str(clean) if isinstance(clean, str | Path) else None, **flags,
    )  # fmt: skip
    try:
        images = _images(clean, request)
        suspect = None if is_file else _as_suspect(model, request, images)
    except UsageError:
        raise
    except AuditorError as error:
        return drain(_refused(request, error))
    return drain(stream(verb, request, suspect=suspect, clean=images))


def _images(clean: Any, request: Request) -> CleanImages | None:
    """The images handed over, read now; None when there are none."""
    from auditor.images import CleanImages

    if clean is None or isinstance(clean, CleanImages):
        return clean
    if isinstance(clean, str | Path):
        return CleanImages.from_path(clean, request.classes)
    x, y = clean if isinstance(clean, tuple) and len(clean) == 2 else (clean, None)
    return CleanImages.from_arrays(x, y)


def _as_suspect(model: Any, request: Request, images: CleanImages | None) -> Suspect:
    """The caller's network, a copy of it when it is bare: a Suspect freezes and moves its module."""
    import copy

    from torch import nn

    from auditor.normalizations import known_normalization
    from auditor.pipeline.session import choose_device
    from auditor.suspect import Suspect

    if isinstance(model, Suspect):
        return model
    if not isinstance(model, nn.Module):
        raise UsageError(f"A {type(model).__name__} is not a model.", "Give a path, an nn.Module or a Suspect.")
    if request.num_classes is None or images is None or not len(images):
        raise UsageError("A bare nn.Module needs num_classes and clean images.", "Or wrap it in auditor.Suspect.")
    height, width, channels = images.images[0].shape
    size = request.input_size
    mean, std = request.mean or [0.0], request.std or [1.0]
    if request.normalize:
        known = known_normalization(request.normalize, channels)
        mean, std = known.mean, known.std
    return Suspect(
        copy.deepcopy(model), num_classes=request.num_classes, input_shape=(channels, size or height, size or width),
        mean=tuple(mean), std=tuple(std), device=choose_device(request.device),
    )  # fmt: skip
