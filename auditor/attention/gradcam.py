"""Grad-CAM: where in the image the evidence for a class lies, at one layer's resolution.

Source: Selvaraju et al., ICCV 2017 (arXiv 1610.02391).
Legend: N images, C channels, H height, W width; D channels, h, w of the layer's map.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from auditor.attention.layers import map_shape
from auditor.errors import UsageError, printable
from auditor.suspect import Suspect

Heat = NDArray[np.float32]


def grad_cam(
    suspect: Suspect, images_NCHW: Tensor, classes_N: Tensor | NDArray[np.int64] | None, layer: str,
    batch_size: int = 64,
) -> Heat:  # fmt: skip
    """Heat-maps (N, H, W), at least 0 and not normalised, for `classes_N` (None: the predicted ones).

    relu(sum over channels of weight * activation), a channel's weight being the mean over its map
    of the gradient of the class's logit; upsampled bilinearly. `images` are in [0, 1].
    Leaves the suspect as it was. Raises UsageError when `layer` puts out no map.
    """
    module = dict(suspect.module.named_modules()).get(layer)
    if module is None:
        raise UsageError(f"The network has no layer {printable(layer, 80)!r}.", "Name one of its layers.")
    classes = None if classes_N is None else torch.split(torch.as_tensor(classes_N), batch_size)
    parts = []
    for index, batch in enumerate(torch.split(images_NCHW, batch_size)):
        activation, gradient = _observe(suspect, batch, None if classes is None else classes[index], module, layer)
        parts.append(_combine(activation, gradient, (batch.shape[2], batch.shape[3])).cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros((0, *images_NCHW.shape[2:]), dtype=np.float32)


def _observe(
    suspect: Suspect, images_NCHW: Tensor, classes_N: Tensor | None, module: nn.Module, layer: str
) -> tuple[Tensor, Tensor]:
    """The layer's activation (N, D, h, w) and the gradient of the class's logit in it."""
    image_shape = images_NCHW.shape[2], images_NCHW.shape[3]
    seen: list[Tensor] = []

    def watch(_module: nn.Module, _inputs: object, output: object) -> Tensor | None:
        if not isinstance(output, Tensor) or map_shape(output, image_shape) is None:
            return None
        # Gradients begin here, which spares the layers below. The network goes on with a clone,
        # or an in-place ReLU that follows would overwrite what was seen.
        seen.append(output.detach().clone().requires_grad_(True))
        return seen[-1].clone()

    handle = module.register_forward_hook(watch)
    try:
        with torch.enable_grad():
            logits = suspect(images_NCHW.to(suspect.device))
            if not seen:
                raise UsageError(f"Layer {printable(layer, 80)!r} puts out no map.", "Name a layer before pooling.")
            chosen = logits.argmax(1) if classes_N is None else classes_N.to(logits.device)
            score = logits.gather(1, chosen[:, None]).sum()
            # A module used more than once is read where it was used last, as in `target_layer`.
            found = torch.autograd.grad(score, seen[-1], allow_unused=True)[0] if score.requires_grad else None
    finally:
        handle.remove()
    activation = seen[-1].detach()
    return activation, torch.zeros_like(activation) if found is None else found


def _combine(activation_NDhw: Tensor, gradient_NDhw: Tensor, size: tuple[int, int]) -> Tensor:
    """Heat (N, H, W) from activations and gradients; where those are not finite, 0."""
    weight_ND11 = gradient_NDhw.float().mean((2, 3), keepdim=True)
    heat_N1hw = (weight_ND11 * activation_NDhw.float()).sum(1, keepdim=True).relu()
    heat_N1hw = torch.nan_to_num(heat_N1hw, nan=0.0, posinf=0.0, neginf=0.0)
    return F.interpolate(heat_N1hw, size=size, mode="bilinear", align_corners=False)[:, 0]
