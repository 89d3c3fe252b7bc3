"""What the model looks at: Grad-CAM, and the Trigger Attention Ratio (TAR) read from it.

TAR follows Hoang 2025 (arXiv 2511.21291), whose equation is not public to us: what is here is
a reconstruction from its wording. It illustrates and monitors; no verdict rests on it, because
Grad-CAM itself can be manipulated by whoever trained the model.
"""

from __future__ import annotations

from auditor.attention.gradcam import grad_cam
from auditor.attention.layers import Layer, target_layer
from auditor.attention.measuring import attend, class_by_class, measure, monitor_tar
from auditor.attention.tar import Tar, normalize_energy, tar, tar_max

__all__ = [
    "Layer", "Tar", "attend", "class_by_class", "grad_cam", "measure", "monitor_tar", "normalize_energy", "tar", "tar_max",
    "target_layer",
]  # fmt: skip
