"""The bank behind a session's score: which of its tables applies, and where the suspect lies beyond it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from auditor.pipeline.session import Session
from auditor.search.budgets import PROFILES
from auditor.verdict.calibration import Bank, nearest_table

# Verification searches as the standard scan does, so that the standard table applies; refining the
# cheapest classes would change no cost that is compared.
FRESH_PROFILE = "standard"
FRESH = replace(PROFILES[FRESH_PROFILE], refine_steps=0)


def bank_for(session: Session, profile: str, rows_z: NDArray[np.float64] | None = None) -> Bank | None:
    """The table nearest in image budget, of this profile or else of `standard`; None from an empty bank.

    `rows_z` says how far each class's last-layer row stands out. A sanitized model is judged without: what
    unlearning leaves of a row is no backdoor that works.
    """
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
    return Bank(table=table, profiles=profiles, beyond=beyond, rows_z=rows_z)
