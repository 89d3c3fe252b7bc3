"""`verify`: a model measured again against the suspect, triggers and images of an earlier run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from auditor.checkpoint.architectures import build
from auditor.checkpoint.factory import from_factory
from auditor.checkpoint.gate import open_checkpoint
from auditor.domain import AuditResult
from auditor.errors import InputError, UsageError, printable
from auditor.files import inside
from auditor.pipeline.calibrating import FRESH, FRESH_PROFILE, bank_for
from auditor.pipeline.opening import open_suspect
from auditor.pipeline.probing import with_probes
from auditor.pipeline.session import Session, Steps, as_indices, stage
from auditor.pipeline.verbs import digest
from auditor.request import Request
from auditor.search.shortlist import classes_to_search
from auditor.suspect import Suspect
from auditor.triggers import Trigger
from auditor.verification import Held, Searchable, verify


def request_of(request: Request, earlier: AuditResult) -> Request:
    """The request that opens the earlier run's suspect, on the images given now or then.

    Raises UsageError when the earlier run has nothing to verify against, and InputError when its
    suspect is gone or is another file now.
    """
    if earlier.artifact is None or earlier.architecture is None or not any(t.confirmed for t in earlier.triggers):
        raise UsageError("The earlier run found no trigger to verify against.", "Give a run that found a backdoor.")
    digest(Path(request.model))  # before the suspect is opened, which takes seconds
    if earlier.architecture.how == "factory" and not request.factory:
        what = f"The earlier run took its network from --factory {printable(earlier.architecture.name)}."
        raise UsageError(what, "Give it again, with --allow-code.")
    path = Path(earlier.artifact.path)
    if digest(path) != earlier.artifact.sha256:
        what = f"{printable(path)} is not the file that the earlier run audited."
        raise InputError(what, "Put the audited file back there.")
    if len(earlier.architecture.input_shape) != 3:
        raise InputError("The earlier run's result.json does not say what images its model takes.", "Audit it again.")
    normalization = earlier.architecture.normalization
    return replace(
        request, model=str(path), arch=earlier.architecture.name if not request.factory else None,
        mean=normalization.mean, std=normalization.std, input_size=earlier.architecture.input_shape[1],
        clean=request.clean or (earlier.images.path if earlier.images else None), seed=earlier.run.seed,
    )  # fmt: skip


def recheck(session: Session, model_path: Path, earlier: AuditResult, folder: Path) -> Steps:
    """Verify the model at `model_path` as a sanitized form of the session's suspect."""
    yield from stage(session, "open", "Opening the suspect of the earlier run", open_suspect(session))
    if session.split is None:
        raise UsageError("Verification needs clean images.", "Give --clean PATH.")
    triggers = [_trigger(session, folder, t.evidence) for t in earlier.triggers if t.confirmed]
    model = _sanitized(session, model_path)
    session.update(triggers=[t for t in earlier.triggers if t.confirmed], verdict=earlier.verdict)
    session.triggers, session.sanitized = triggers, model
    held_out = as_indices(session.split.verify)
    held = [Held(model=model, images=session.images[held_out], labels=session.labels[held_out])]
    targets = [t.target_class for t in triggers]
    session.classes = classes_to_search(session.model.num_classes, None, targets, session.request.seed)
    search = Searchable(images=session.images, labels=session.labels, classes=session.classes,
                        budget=FRESH, seed=session.request.seed, bank=bank_for(session, FRESH_PROFILE))  # fmt: skip
    body = verify(session.model, model, held, triggers, search, basis=session.split.basis, control=session.control)
    verification = yield from stage(session, "verify", "Verifying", body)
    verification = yield from with_probes(session, model, verification)
    session.update(verification=verification)
    if session.split.basis == "cross_fitted":
        session.limit("With so few images none could be held out: the model may have met the images it is verified on.")
    return 0 if verification.passed else 1


def _trigger(session: Session, folder: Path, evidence: str) -> Trigger:
    """A trigger of the earlier run, whose folder may come from anyone."""
    trigger = Trigger.load(inside(folder, evidence))
    trigger.check_fits(session.model.num_classes, session.model.input_shape)
    return trigger


def _sanitized(session: Session, path: Path) -> Suspect:
    """The model to verify, read as the suspect was. Raises InputError when it has other classes."""
    opened = open_checkpoint(path)
    session.update(artifact=opened.artifact, file_safety=opened.file_safety)
    request, suspect = session.request, session.model
    if request.factory:
        built = from_factory(
            request.factory, opened.state, allow_code=request.allow_code, num_classes=suspect.num_classes,
            input_size=suspect.input_shape[1],
        )  # fmt: skip
    else:
        built = build(opened.state, arch=request.arch, input_size=suspect.input_shape[1], hints=opened.hints)
    if (built.num_classes, built.input_shape) != (suspect.num_classes, suspect.input_shape):
        raise InputError(
            f"{printable(path)} has {built.num_classes} classes and takes images of {built.input_shape}; the suspect of "
            f"the earlier run has {suspect.num_classes} and {suspect.input_shape}.", "Give a model sanitized from it.",
        )  # fmt: skip
    return suspect.with_module(built.module)
