"""The arrays behind the report's pictures of stamped images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from auditor.attention import class_by_class
from auditor.pipeline.session import Session
from auditor.triggers import Trigger

SHOWN = 6


def stamped_arrays(session: Session, trigger: Trigger, indices: Tensor) -> dict[str, NDArray[np.generic]]:
    """A few clean images, the same with the trigger, and what suspect and sanitized model say of them.

    `clean` and `triggered` (n, H, W, C) uint8; `true`, `predicted_clean`, `predicted_triggered`
    and, once sanitized, `predicted_sanitized` (n,); `support` (H, W).
    """
    images, labels = session.images[indices], session.labels[indices].numpy()
    shown = class_by_class(trigger, labels)[:SHOWN]
    clean = images[shown]
    triggered = trigger.stamp(clean)
    arrays: dict[str, NDArray[np.generic]] = {
        "clean": pixels(clean), "triggered": pixels(triggered), "true": labels[shown],
        "predicted_clean": session.model.predict(clean), "predicted_triggered": session.model.predict(triggered),
        "support": trigger.support(images),
    }  # fmt: skip
    if session.sanitized is not None:
        arrays["predicted_sanitized"] = session.sanitized.predict(triggered)
    return arrays


def pixels(images_NCHW: Tensor) -> NDArray[np.uint8]:
    """The images (N, H, W, C) as 8 bits."""
    shown: NDArray[np.uint8] = (images_NCHW.permute(0, 2, 3, 1) * 255).round().to("cpu").numpy().astype(np.uint8)
    return shown
