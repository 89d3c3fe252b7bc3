"""The verbs: which stages run, in which order, and what exit code comes of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path

import torch

from auditor import __version__
from auditor.checkpoint.sniff import open_regular
from auditor.domain import AuditResult, exit_code
from auditor.errors import AuditorError, Cancelled, OutputError, UsageError, printable
from auditor.events import AuditFinished, Control, Event, FileWritten, Notice, ResultReached
from auditor.images import CleanImages
from auditor.pipeline.detecting import detect
from auditor.pipeline.opening import check_suspect, open_suspect, read_images
from auditor.pipeline.session import Session, Steps, choose_device, configure, new_result, stage
from auditor.pipeline.stages import ONNX, SAFETENSORS, attend, confirmed_triggers, export, provenance, unlearn
from auditor.pipeline.without_images import detect_without_images
from auditor.request import Request
from auditor.runs import RunFolder
from auditor.suspect import Suspect
from auditor.triggers import Trigger

# What decides the content of a run; anything else may differ when it is resumed.
FINGERPRINTED = (
    "arch", "factory", "num_classes", "input_size", "normalize", "mean", "std", "targets", "exhaustive", "sources", "seed", "profile",
    "trigger", "device",
)  # fmt: skip
SANITIZED = (ONNX, SAFETENSORS)
FINAL = (*SANITIZED, "report.html", "report.pdf")


def start(
    request: Request, control: Control, *, suspect: Suspect | None = None, clean: CleanImages | None = None,
    folder: bool = True,
) -> Session:  # fmt: skip
    """A session for the request, its run folder open when `output` names one.

    Reads the images and the trigger first, so that nothing is written for input that cannot be
    used. Raises InputError, OutputError and DeviceError, and UsageError for a trigger without images.
    """
    configure(request)
    session = Session(request=request, control=control, result=new_result(request, "cpu"), suspect=suspect, clean=clean)
    device = choose_device(request.device)
    session.result = new_result(request, device)
    model = digest(Path(request.model)) if suspect is None else digest_of_module(suspect)
    session.clean = read_images(session)
    trigger = "" if request.trigger is None else _check_trigger(session, Path(request.trigger))
    if request.output and folder:
        asked = {name: asdict(request)[name] for name in FINGERPRINTED} | {"device": device, "trigger": trigger}
        fingerprint = {
            "model": model, "auditor": __version__,
            "images": session.clean.sha256 if session.clean is not None and len(session.clean) else "none",
            "settings": hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest(),
        }  # fmt: skip
        session.run = RunFolder.open(Path(request.output), fingerprint=fingerprint, force=request.force)
        try:
            _discard_outcome(session.run)
        except BaseException:
            session.run.close()
            raise
    return session


def _check_trigger(session: Session, path: Path) -> str:
    """The digest of a trigger file that can be used."""
    if session.clean is None or not len(session.clean):
        raise UsageError("Unlearning a given trigger needs clean images.", "Give some with --clean PATH.")
    Trigger.load(path)
    return digest(path)


def _discard_outcome(run: RunFolder) -> None:
    """Remove what an earlier run of the same command concluded; what it found out stays.

    Otherwise a run that is stopped, or fails, would lie beside the sanitized model of the one before.
    """
    run.discard("result.json")
    for name in (*FINAL, *(f"evidence/{prefix}_{name}" for prefix in ("candidate", "staged") for name in SANITIZED)):
        run.discard(name)


def digest(path: Path) -> str:
    """The sha256 of the user's file, which may be a link. Raises InputError when it cannot be read."""
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of_module(suspect: Suspect) -> str:
    """The sha256 of a caller's network: its structure, weights and normalisation."""
    found = hashlib.sha256(f"{suspect.module!r}{suspect.input_shape}{suspect.mean}{suspect.std}".encode())
    for name, value in suspect.module.state_dict().items():
        found.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def run(session: Session, body: Steps) -> Generator[Event, None, AuditResult]:
    """Run a verb's stages to the end: record every event, turn errors into the result, write it down."""
    try:
        events = _guarded(session, body)
        try:
            for event in events:
                yield session.run.record(event) if session.run else event
        finally:
            events.close()
        return session.result
    finally:
        if session.run is not None:
            session.run.close()


def _guarded(session: Session, body: Steps) -> Steps:
    try:
        code = yield from body
        session.finish(code)
    except AuditorError as error:
        cause = _cause(session, error)
        session.fail(cause)
        yield Notice(message=str(cause), level="error")
    yield ResultReached(result=session.result)
    if session.run is not None:
        session.run.write_result(session.result)
        yield FileWritten(path="result.json", what="result")
    verdict, verification = session.result.verdict, session.result.verification
    yield AuditFinished(
        exit_code=session.result.run.exit_code or 0, label=verdict.label if verdict else "none",
        passed=verification.passed if verification else None,
    )  # fmt: skip


def _cause(session: Session, error: AuditorError) -> AuditorError:
    """The error, or the cancel behind it: a Ctrl-C can also end the child that opens the file."""
    try:
        session.control.stop_requested  # noqa: B018  (raises when cancelled)
    except Cancelled as cancelled:
        return cancelled
    return error


def preflight(session: Session) -> Steps:
    """Open the model and check that it works on the images: whether an audit can run, in seconds."""
    yield from stage(session, "open", "Opening the model", open_suspect(session))
    if session.clean is not None and len(session.clean):
        yield from stage(session, "preflight", "Checking that the model works", check_suspect(session))
    return 0 if session.result.verdict is None else exit_code(session.result.verdict)


def scan(session: Session) -> Steps:
    """Verdict only."""
    yield from _find(session)
    return exit_code(session.result.verdict)


def audit(session: Session) -> Steps:
    """Verdict, attention, unlearning, verification and export."""
    yield from _find(session)
    if confirmed_triggers(session):
        yield from _repair(session)
    verification = session.result.verification
    return exit_code(session.result.verdict, sanitized=verification is not None and verification.passed)


def sanitize(session: Session) -> Steps:
    """As audit; with `--trigger` the given trigger takes the place of the search."""
    if session.request.trigger is None:
        return (yield from audit(session))
    trigger = Trigger.load(Path(session.request.trigger))
    yield from stage(session, "open", "Opening the model", open_suspect(session))
    trigger.check_fits(session.model.num_classes, session.model.input_shape)
    yield from stage(session, "preflight", "Checking that the model works", check_suspect(session))
    if session.result.verdict is not None:
        return exit_code(session.result.verdict)
    session.take_trigger(trigger)
    yield from _repair(session)
    verification = session.result.verification
    return 0 if verification is not None and verification.passed else 1


def _find(session: Session) -> Steps:
    yield from stage(session, "open", "Opening the model", open_suspect(session))
    if session.clean is None or not len(session.clean):
        yield from stage(session, "detect", "Searching without images", detect_without_images(session))
        return
    yield from stage(session, "preflight", "Checking that the model works", check_suspect(session))
    if session.result.verdict is None:
        yield from stage(session, "detect", "Searching for triggers", detect(session))
    if confirmed_triggers(session):
        yield from stage(session, "attend", "Reading the model's attention", attend(session))


def _repair(session: Session) -> Steps:
    yield from stage(session, "unlearn", "Unlearning and verifying", unlearn(session, session.request.method))
    if session.sanitized is not None:
        yield from stage(session, "attend", "Reading the model's attention", attend(session))
    yield from stage(session, "export", "Exporting", export(session))


def export_only(session: Session) -> Steps:
    """The model as it is, as ONNX, marked as not audited."""
    from auditor.exporting import ONNX_TOLERANCE, describe, export_onnx, onnx_parity

    request = session.request
    path = Path(request.output or "model.onnx")
    if path.exists() and not request.force:
        raise OutputError(f"{printable(path)} exists already.", "Give another -o, or --force to replace it.")
    yield from stage(session, "open", "Opening the model", open_suspect(session))
    model = session.model
    metadata = provenance(session) | {"auditor.audited": "false", "auditor.verdict": "", "auditor.verified": "false"}
    export_onnx(model, path, metadata=metadata, embed_preprocessing=request.embed_preprocessing)
    generator = torch.Generator().manual_seed(request.seed)
    images = session.images if len(session.images) else torch.rand(16, *model.input_shape, generator=generator)
    parity = onnx_parity(model, path, images, embed_preprocessing=request.embed_preprocessing)
    session.update(exports=[describe(path, "onnx", parity)])
    if parity.max_abs_logit_difference >= ONNX_TOLERANCE:
        session.limit(f"The ONNX file's logits differ from the model's by up to {parity.max_abs_logit_difference:.1e}.")
    yield FileWritten(path=str(path), what="ONNX model, not audited")
    return 0

