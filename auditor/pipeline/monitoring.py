"""Reading a model in work: accuracy, attack success and attention on work images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from auditor import attention
from auditor.adversarial import fast_math
from auditor.attention.measuring import equal_area_masks
from auditor.metrics import accuracy, attack_success_rate
from auditor.pipeline.pictures import pixels
from auditor.pipeline.session import Session, as_indices
from auditor.suspect import Suspect
from auditor.triggers import Trigger
from auditor.unlearn.method import Monitor, Reading

WATCHED = 4
CONTROLS = 8
WATCHED_FILE = "evidence/watched.npz"


@dataclass(frozen=True, kw_only=True, eq=False)
class Watched:
    """A few fixed images with the trigger (N, C, H, W), the trigger's pixels (H, W) and as many elsewhere (R, H, W)."""

    layer: str
    triggered: Tensor
    support: NDArray[np.bool_]
    elsewhere: NDArray[np.bool_]

    def read(self, model: Suspect) -> tuple[float | None, float | None, NDArray[np.float32]]:
        """TAR, that of the random masks, and the heat-maps."""
        return attention.monitor_tar(model, self.triggered, self.support, self.elsewhere, self.layer)


def make_monitor(session: Session, triggers: Sequence[Trigger]) -> Monitor:
    """A callable that reads a model on the work images: proxies for progress, not the claim.

    The attack success rate is the worst over `triggers`; attention is read on a few fixed images, which
    are stored beside the evidence.
    """
    assert session.split is not None
    work = as_indices(session.split.work)
    images, labels = session.images[work], session.labels[work].numpy()
    affected = [t.affects(session.labels[work]) for t in triggers]
    stamped = [(t, t.stamp(images[a]), labels[a.numpy()]) for t, a in zip(triggers, affected, strict=True)]
    watched = watch(session, triggers[0], images, labels) if triggers else None
    if watched is not None and session.run is not None:
        session.run.save_arrays(WATCHED_FILE, images=pixels(watched.triggered), support=watched.support)

    def read(model: Suspect) -> Reading:
        with fast_math(model):
            rates = [attack_success_rate(model.predict(x), y, t.target_class).rate or 0.0 for t, x, y in stamped if len(x)]
            clean = accuracy(model.predict(images), labels).rate or 0.0
        tar, random, heat = watched.read(model) if watched is not None else (None, None, None)
        return Reading(clean_accuracy=clean, attack_success_rate=max(rates, default=0.0), tar=tar, tar_random=random,
                       heat_maps=heat)  # fmt: skip

    return read


def watch(session: Session, trigger: Trigger, images_NCHW: Tensor, labels_N: NDArray[np.int64]) -> Watched | None:
    """The images to watch, of different classes; None when there is none, or the network puts out no map."""
    layer = attention.target_layer(session.model)
    shown = attention.class_by_class(trigger, labels_N)[:WATCHED]
    if layer is None or not len(shown):
        return None
    support = trigger.support(images_NCHW)
    elsewhere = equal_area_masks(support, CONTROLS, np.random.default_rng(session.request.seed))
    return Watched(layer=layer.name, triggered=trigger.stamp(images_NCHW[shown]), support=support, elsewhere=elsewhere)
