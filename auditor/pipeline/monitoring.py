"""Reading a model in work: accuracy, attack success and attention on work images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from auditor import attention
from auditor.adversarial import fast_math
from auditor.metrics import accuracy, attack_success_rate
from auditor.pipeline.session import Session, as_indices
from auditor.suspect import Suspect
from auditor.triggers import Trigger
from auditor.unlearn.method import Monitor, Reading

WATCHED = 4


def make_monitor(session: Session, triggers: Sequence[Trigger]) -> Monitor:
    """A callable that reads a model on the work images: proxies for progress, not the claim.

    The attack success rate is the worst over `triggers`; attention is read on a few fixed images.
    """
    assert session.split is not None
    work = as_indices(session.split.work)
    images, labels = session.images[work], session.labels[work].numpy()
    affected = [t.affects(session.labels[work]) for t in triggers]
    stamped = [(t, t.stamp(images[a]), labels[a.numpy()]) for t, a in zip(triggers, affected, strict=True)]
    layer = attention.target_layer(session.model)
    watched = support = None
    if triggers and layer is not None:
        others = np.flatnonzero(affected[0].numpy())[:WATCHED]
        watched, support = triggers[0].stamp(images[others]), triggers[0].support(images)

    def read(model: Suspect) -> Reading:
        with fast_math(model):
            rates = [attack_success_rate(model.predict(x), y, t.target_class).rate or 0.0 for t, x, y in stamped if len(x)]
            clean = accuracy(model.predict(images), labels).rate or 0.0
        tar = heat = None
        if watched is not None and support is not None and layer is not None and len(watched):
            tar, heat = attention.monitor_tar(model, watched, support, layer.name)
        return Reading(clean_accuracy=clean, attack_success_rate=max(rates, default=0.0), tar=tar, heat_maps=heat)

    return read
