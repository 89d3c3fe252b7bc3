"""The bank behind a session's score: which of its tables applies, and where the suspect lies beyond it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from auditor.pipeline.session import Session, as_indices
from auditor.search.synthesis import PROFILES
from auditor.verdict.calibration import Bank, nearest_table
from auditor.verification import Searchable

# Verification searches as the standard scan does, so that the standard table applies; refining the
# cheapest classes would change no cost that is compared.
FRESH_PROFILE = "standard"
FRESH = replace(PROFILES[FRESH_PROFILE], refine_steps=0)
MOST_FRESH = 100  # a verification with 100 images searches them all, and its triggers would cost more with more


def fresh_search(session: Session, classes: Sequence[int]) -> Searchable:
    """Where verification searches: all images, or of many a draw as even over the classes as they are, of those that
    were held out where they suffice."""
    images, labels = session.images, session.labels
    held = as_indices(session.split.verify) if session.split else torch.arange(len(labels))
    if len(labels) > MOST_FRESH:
        pool = held if len(held) >= MOST_FRESH else torch.arange(len(labels))
        order = pool[torch.argsort(labels[pool], stable=True)]
        chosen = order[torch.linspace(0, len(order) - 1, MOST_FRESH).round().long()]
        images, labels = images[chosen], labels[chosen]
    return Searchable(images=images, labels=labels, classes=classes, budget=FRESH, seed=session.request.seed,
                      bank=bank_for(session, FRESH_PROFILE))  # fmt: skip


def bank_for(session: Session, profile: str) -> Bank | None:
    """The table nearest in image budget, of this profile or else of `standard`; None from an empty bank."""
    suspect, images = session.model, len(session.images)
    table = nearest_table(profile, images)
    if table is None:
        return None
    architecture = session.result.architecture
    beyond = table.beyond(
        images=images, profile=profile, num_classes=suspect.num_classes,
        pixels=suspect.input_shape[1] * suspect.input_shape[2], architecture=architecture.name if architecture else "",
    )  # fmt: skip
    profiles = [p for p in table.profiles if p.classes == suspect.num_classes]
    return Bank(table=table, profiles=profiles, beyond=beyond)
