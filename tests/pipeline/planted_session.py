"""A session on the planted network, as it stands when its trigger is confirmed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import planted

from auditor.domain import TriggerFinding
from auditor.events import Control
from auditor.images.split import Split
from auditor.metrics import wilson
from auditor.pipeline.session import Session, new_result
from auditor.request import Request
from auditor.runs import RunFolder
from auditor.triggers import Trigger


def session(*triggers: Trigger, folder: Path | None = None, control: Control | None = None) -> Session:
    """36 work and 24 verify images; `triggers` confirmed, the corner trigger when none is given."""
    images, labels = planted.planted_images(60)
    triggers = triggers or (planted.corner_trigger(),)
    work, verify = np.arange(36), np.arange(36, 60)
    request = Request(model="planted")
    findings = [
        TriggerFinding(target_class=t.target_class, family=t.family, cost=1.0, attack_success_rate=wilson(9, 9), confirmed=True)
        for t in triggers
    ]
    return Session(
        request=request, control=control or Control(), result=replace(new_result(request, "cpu"), triggers=findings),
        run=RunFolder.open(folder, fingerprint={}) if folder is not None else None, suspect=planted.planted(),
        images=images, labels=labels, triggers=list(triggers),
        split=Split(work=work, verify=verify, basis="held_out", folds=[(work, verify)]),
    )  # fmt: skip
