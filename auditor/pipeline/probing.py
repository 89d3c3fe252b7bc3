"""Asks of a sanitized model that passed how hard its backdoor is to wake, and adds the answer to its verification."""

from __future__ import annotations

from dataclasses import replace

from auditor.domain import Probe, Verification
from auditor.hardness import Subject, probe
from auditor.pipeline.session import Session, Steps, as_indices
from auditor.suspect import Suspect
from auditor.triggers import Trigger

MOST_TARGETS = 2


def with_probes(session: Session, model: Suspect | None, verification: Verification | None) -> Steps:
    """Returns the verification with its probes and weaknesses; as it was, when the model did not pass.

    A trigger of each removed target is probed, at most two targets: each costs seconds.
    """
    if verification is None or model is None or not verification.passed or not (session.split and session.split.folds):
        return verification
    first = first_of_each_target(session)
    if len(first) > MOST_TARGETS:
        session.limit(f"How hard the backdoor is to wake was tried for {MOST_TARGETS} of {len(first)} removed targets.")
    found: list[Probe] = []
    for trigger in first[:MOST_TARGETS]:
        found += yield from probe(_subject(session, model, trigger), session.control)
    if len(found) < 2 * len(first[:MOST_TARGETS]):
        session.limit("How hard the backdoor is to wake was not fully tried: images, classes or time did not suffice.")
    weaknesses = [item.finding for item in found if item.is_weakness]
    return replace(verification, probes=found, weaknesses=weaknesses)


def first_of_each_target(session: Session) -> list[Trigger]:
    """The first confirmed trigger toward each target, in the order of the result."""
    chosen: dict[int, Trigger] = {}
    for trigger, finding in zip(session.triggers, session.result.triggers, strict=True):
        if finding.confirmed:
            chosen.setdefault(trigger.target_class, trigger)
    return list(chosen.values())


def _subject(session: Session, model: Suspect, trigger: Trigger) -> Subject:
    assert session.split is not None
    work, held = (as_indices(part) for part in session.split.folds[0])
    return Subject(
        model=model, trigger=trigger, work=session.images[work], work_labels=session.labels[work],
        held=session.images[held], held_labels=session.labels[held], seed=session.request.seed,
        targets=frozenset(f.target_class for f in session.result.triggers),
    )  # fmt: skip
