"""`verify`: a model measured again against the suspect, triggers and images of an earlier run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from auditor.checkpoint.architectures import build
from auditor.checkpoint.gate import open_checkpoint
from auditor.domain import AuditResult, Request
from auditor.errors import InputError, UsageError
from auditor.pipeline.opening import open_suspect
from auditor.pipeline.session import Session, Steps, as_indices, stage
from auditor.pipeline.verbs import digest
from auditor.search.shortlist import classes_to_search
from auditor.search.synthesis import PROFILES
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
    path = Path(earlier.artifact.path)
    if digest(path) != earlier.artifact.sha256:
        raise InputError(f"{path} is not the file that the earlier run audited.", "Put the audited file back there.")
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
    triggers = [Trigger.load(folder / t.evidence) for t in earlier.triggers if t.confirmed]
    model = _sanitized(session, model_path)
    session.update(triggers=[t for t in earlier.triggers if t.confirmed], verdict=earlier.verdict)
    session.triggers, session.sanitized = triggers, model
    held_out = as_indices(session.split.verify)
    held = [Held(model=model, images=session.images[held_out], labels=session.labels[held_out])]
    targets = [t.target_class for t in triggers]
    session.classes = classes_to_search(session.model.num_classes, None, targets, session.request.seed)
    search = Searchable(images=session.images, labels=session.labels, classes=session.classes,
                        budget=PROFILES["quick"], seed=session.request.seed)  # fmt: skip
    body = verify(session.model, model, held, triggers, search, basis=session.split.basis, control=session.control)
    verification = yield from stage(session, "verify", "Verifying", body)
    session.update(verification=verification)
    if session.split.basis == "cross_fitted":
        session.limit("With so few images none could be held out: the model may have met the images it is verified on.")
    return 0 if verification.passed else 1


def _sanitized(session: Session, path: Path) -> Suspect:
    opened = open_checkpoint(path)
    session.update(artifact=opened.artifact, file_safety=opened.file_safety)
    request = session.request
    if request.factory:
        from auditor.checkpoint.factory import from_factory

        built = from_factory(request.factory, opened.state, allow_code=request.allow_code)
    else:
        built = build(opened.state, arch=request.arch, input_size=request.input_size)
    return session.model.with_module(built.module)
