"""From a path (or a module) to a suspect on the bench: file, architecture, images, preflight."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from auditor.checkpoint import normalization as normalizing
from auditor.checkpoint import preflight
from auditor.checkpoint.architectures import Built, build
from auditor.checkpoint.candidates import AmbiguousArchitectureError
from auditor.checkpoint.factory import from_factory
from auditor.checkpoint.gate import Opened, inspect_file, open_checkpoint
from auditor.domain import Architecture, Normalization, Verdict
from auditor.errors import InputError, UnsafeCheckpointError, printable
from auditor.events import ModelOpened, Notice
from auditor.images import CleanImages, split, within_work
from auditor.normalizations import known_normalization, normalization_words
from auditor.pipeline.session import Session, Steps, as_indices, choose_device
from auditor.suspect import Suspect

FEW_IMAGES = 20


def open_suspect(session: Session) -> Steps:
    """Open the checkpoint in the sandbox, build its network, and read the images."""
    request = session.request
    device = choose_device(request.device)
    if session.suspect is None:
        opened = _opened(session)
        session.update(artifact=opened.artifact, file_safety=opened.file_safety)
        for finding in opened.file_safety.findings:
            level = {"info": "info", "warning": "warning", "danger": "error"}[finding.severity]
            yield Notice(message=finding.message, level=level)  # type: ignore[arg-type]
        session.control.stop_requested  # noqa: B018  (raises when cancelled)
        session.clean = read_images(session)
        built = _built(session, opened)
        for note in built.notes:
            yield Notice(message=note)
        session.keys = {k: opened.original_key(built.keys.get(k, k)) for k in built.module.state_dict()}
        yield from _bench(session, built, device)
    else:
        session.clean = session.clean or read_images(session)
        given, session.suspect = session.suspect, None  # until it is known to run
        yield from _bench_given(session, given)
    yield from _split(session)


def read_images(session: Session) -> CleanImages | None:
    """The user's images, or None when none were given."""
    request = session.request
    if session.clean is not None or request.clean is None:
        return session.clean
    return CleanImages.from_path(Path(request.clean), Path(request.classes) if request.classes else None)


def _opened(session: Session) -> Opened:
    path = Path(session.request.model)
    try:
        return open_checkpoint(path)
    except UnsafeCheckpointError:
        artifact, safety, _ = inspect_file(path)
        session.update(artifact=artifact, file_safety=safety)
        raise


def _built(session: Session, opened: Opened) -> Built:
    request = session.request
    if request.factory:
        return from_factory(
            request.factory, opened.state, allow_code=request.allow_code, num_classes=request.num_classes,
            input_size=request.input_size,
        )  # fmt: skip
    try:
        return build(
            opened.state, arch=request.arch, num_classes=request.num_classes, input_size=request.input_size,
            hints=opened.hints,
        )  # fmt: skip
    except AmbiguousArchitectureError as error:
        found = _most_accurate(session, opened, error.candidates)
        if found is None:
            raise
        return found


def _most_accurate(session: Session, opened: Opened, names: tuple[str, ...]) -> Built | None:
    """Of networks that all fit the weights, the one that is clearly right on labelled images.

    None when there are no labels, or the best is not above chance or not clearly the best.
    """
    if session.clean is None or session.clean.labels is None or not len(session.clean):
        return None
    scored = []
    for name in names:
        built = build(opened.state, arch=name, input_size=session.request.input_size)
        images, _ = session.clean.to_input(built.input_shape)
        choice = normalizing.infer_normalization(
            built.module, torch.from_numpy(images), session.clean.labels, built.num_classes, built.input_shape[0]
        )
        scored.append((max(choice.scores.values(), default=0.0), built))
    scored.sort(key=lambda pair: -pair[0])
    if scored[0][0] < preflight.accuracy_bar(scored[0][1].num_classes) or scored[0][0] < scored[1][0] + 0.05:
        return None
    best = scored[0][1]
    note = f"{len(names)} architectures fit these weights; {best.name} is the one that is right on your images"
    return replace(best, how="inferred", notes=[*best.notes, note])


def _bench(session: Session, built: Built, device: str) -> Steps:
    session.update(
        architecture=Architecture(
            name=built.name, how=built.how, num_classes=built.num_classes, input_shape=list(built.input_shape),
            normalization=Normalization(mean=[], std=[]),
            parameters=sum(p.numel() for p in built.module.parameters()),
        )
    )  # fmt: skip
    yield from _take_images(session, built.input_shape, built.num_classes)
    labels = None if session.clean is None or session.clean.labels is None else session.clean.labels
    module = built.module.to(device)
    how, normalization = _normalization(session, module, built, labels)
    session.suspect = Suspect(
        module, num_classes=built.num_classes, input_shape=built.input_shape, mean=tuple(normalization.mean),
        std=tuple(normalization.std), device=device,
    )  # fmt: skip
    assert session.result.architecture is not None
    network = replace(session.result.architecture, normalization=normalization, normalization_how=how)
    session.update(architecture=network)
    artifact = session.result.artifact
    yield ModelOpened(
        sha256=artifact.sha256 if artifact else "", format=artifact.format if artifact else "module",
        architecture=built.name, num_classes=built.num_classes, input_shape=list(built.input_shape),
    )  # fmt: skip
    if how == "inferred":
        yield Notice(message=f"Normalisation worked out on your images: {normalization_words(network)}.")


def _bench_given(session: Session, suspect: Suspect) -> Steps:
    """A library caller's own network: nothing to open."""
    _check_answers(suspect)
    session.suspect = suspect
    session.update(
        architecture=Architecture(
            name=type(suspect.module).__name__, how="module", num_classes=suspect.num_classes,
            input_shape=list(suspect.input_shape), parameters=sum(p.numel() for p in suspect.module.parameters()),
            normalization=Normalization(mean=list(suspect.mean), std=list(suspect.std)),
        )
    )  # fmt: skip
    yield from _take_images(session, suspect.input_shape, suspect.num_classes)


def _check_answers(suspect: Suspect) -> None:
    """Raises InputError when a caller's network does not answer as was said of it."""
    said = f"{suspect.num_classes} classes and images of shape {suspect.input_shape}"
    try:
        classes = suspect.logits(torch.full((1, *suspect.input_shape), 0.5)).shape[1:]
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, AssertionError) as error:
        what = f"The network cannot be run as one of {said}: {printable(error)}"
        raise InputError(what, "Correct num_classes, the input size or the number of channels.") from error
    if tuple(classes) != (suspect.num_classes,):
        raise InputError(f"The network returns {tuple(classes)} logits an image; it was said to have {said}.",
                         "Correct num_classes.")  # fmt: skip


def _take_images(session: Session, input_shape: tuple[int, int, int], num_classes: int) -> Steps:
    if wrong := [t for t in session.request.targets or [] if not 0 <= t < num_classes]:
        raise InputError(f"--targets names class {wrong[0]}, but the network has {num_classes} classes.",
                         f"Classes are numbered 0 to {num_classes - 1}.")  # fmt: skip
    if session.clean is None:
        return
    if not len(session.clean):
        for message in session.clean.notices:
            yield Notice(message=message, level="warning")
        return
    session.clean.validate(num_classes)
    images, notices = session.clean.to_input(input_shape)
    for message in [*session.clean.notices, *notices]:
        yield Notice(message=message)
    session.images, session.conversions = torch.from_numpy(images), notices


def _normalization(
    session: Session, module: torch.nn.Module, built: Built, labels: np.ndarray | None
) -> tuple[str, Normalization]:
    request, channels = session.request, built.input_shape[0]
    if request.mean is not None or request.std is not None:
        given = Normalization(
            mean=_per_channel(request.mean or [0.0], channels, "--mean"),
            std=_per_channel(request.std or [1.0], channels, "--std"),
        )
        if min(given.std) <= 0:
            raise InputError("--std must be positive.", "Give standard deviations in [0, 1] units, e.g. 0.25.")
        return "given", given
    if request.normalize:
        return "given", known_normalization(request.normalize, channels)
    device = next(iter(module.state_dict().values())).device
    choice = normalizing.infer_normalization(
        lambda n: Suspect(module, num_classes=built.num_classes, input_shape=built.input_shape, mean=tuple(n.mean),
                          std=tuple(n.std), device=device),
        session.images, labels, built.num_classes, channels,
    )  # fmt: skip
    if choice.how == "default" and built.default_normalization is not None:
        return "default", built.default_normalization
    return choice.how, choice.normalization


def _per_channel(values: list[float], channels: int, flag: str) -> list[float]:
    if len(values) == 1:
        return values * channels
    if len(values) != channels:
        raise InputError(f"{flag} has {len(values)} values, but the network takes {channels} channels.",
                         "Give one number, or one for each channel.")  # fmt: skip
    return values


def _split(session: Session) -> Steps:
    """Labels, the work and verify sets, and within work what detection searches and holds back."""
    clean, request, suspect = session.clean, session.request, session.model
    if clean is None or not len(clean):
        return
    if clean.labels is None:
        labels = suspect.predict(session.images)
        session.limit("The images carry no labels: the model's own predictions stand in, so accuracy is agreement with the suspect.")
        yield Notice(message="The images carry no labels: the model's own predictions are used instead.", level="warning")
    else:
        labels = clean.labels
    session.labels = torch.from_numpy(np.asarray(labels, dtype=np.int64))
    session.split = split(clean.images, labels, request.seed)
    fit, hold = within_work(clean.images, labels, session.split, request.seed)
    session.fit, session.hold = as_indices(fit), as_indices(hold)
    session.update(images=clean.summary(session.split, session.conversions))
    for message in session.split.notices:
        yield Notice(message=message)
    if len(clean) < FEW_IMAGES:
        session.limit(f"Only {len(clean)} clean images: every rate here has a wide interval, and subtle triggers can escape.")


def check_suspect(session: Session) -> Steps:
    """Preflight: an inconclusive verdict with its cause when the suspect cannot be judged on these images."""
    suspect, clean = session.model, session.clean
    labels = None if clean is None or clean.labels is None else session.labels.numpy()
    found = preflight.check(suspect, session.images, labels)
    assert session.result.architecture is not None
    session.update(architecture=replace(session.result.architecture, clean_accuracy=found.clean_accuracy))
    if found.ok:
        rate = found.clean_accuracy
        if rate is not None and rate.rate is not None:
            yield Notice(message=f"Clean accuracy {rate.rate:.1%} ({rate.hits} of {rate.total}).")
        return
    for reason in found.reasons:
        yield Notice(message=reason, level="warning")
    session.update(verdict=Verdict(label="inconclusive", score=None, reasons=[_sentence(r) for r in found.reasons]))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


