"""The Trigger Attention Ratio of a heat-map: how much of it lies on the trigger.

A reconstruction of Hoang 2025 (arXiv 2511.21291): its wording fits the energy as well as the
ratio, so both are given. Legend: N images, H height, W width; h, w of the layer's map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from auditor.errors import UsageError

Values = NDArray[np.float64]
_TINY = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class Tar:
    """Per image (N,): `energy`, the share of heat inside the mask; `ratio`, the mean inside over the
    mean outside; `lift`, the energy over the mask's share of the image. NaN where undefined."""

    energy: Values
    ratio: Values
    lift: Values


def tar(heat_NHW: NDArray[np.float32], mask_HW: NDArray[np.bool_]) -> Tar:
    """The TAR of each heat-map (N, H, W), which is at least 0, in the mask.

    All three are NaN for a map without heat; the ratio also for one without heat outside the
    mask, where it has no bound, and, like the lift, for a mask that is empty. A full mask has no
    outside either. Raises UsageError when heat and mask differ in size.
    """
    if heat_NHW.shape[1:] != mask_HW.shape:
        raise UsageError(f"Heat-maps are {heat_NHW.shape[1:]}, but the mask is {mask_HW.shape}.")
    inside, outside = int(mask_HW.sum()), int((~mask_HW).sum())
    heat = heat_NHW.astype(np.float64)
    in_N, out_N = heat[:, mask_HW].sum(1), heat[:, ~mask_HW].sum(1)
    energy = _divide(in_N, in_N + out_N)
    lift = energy / (inside / mask_HW.size) if inside else np.full_like(energy, np.nan)
    ratio = _divide(in_N * outside, out_N * inside)
    return Tar(energy=energy, ratio=ratio, lift=lift)


def tar_max(mask_HW: NDArray[np.bool_], grid: tuple[int, int]) -> float:
    """The energy of the mask itself seen at the layer's resolution (h, w); NaN when it is empty.

    The mask is averaged down to the grid and brought up again as Grad-CAM does: what a layer
    that looks at nothing but the trigger would reach.
    """
    mask = torch.from_numpy(mask_HW.astype(np.float32))[None, None]
    coarse = F.interpolate(mask, size=grid, mode="area")
    seen = F.interpolate(coarse, size=mask_HW.shape, mode="bilinear", align_corners=False)[0].numpy()
    return float(tar(seen, mask_HW).energy[0])


def normalize_energy(energy_N: Values, mask_HW: NDArray[np.bool_], grid: tuple[int, int]) -> Values:
    """(energy - area) / (tar_max - area): 0 for even heat, about 1 for all that the grid can show.

    NaN when the grid cannot tell the mask from even heat.
    """
    area = float(mask_HW.mean())
    reach = tar_max(mask_HW, grid) - area
    return (energy_N - area) / reach if reach > _TINY else np.full_like(energy_N, np.nan)


def _divide(over: Values, under: Values) -> Values:
    """Elementwise quotient, NaN where `under` is 0."""
    return np.divide(over, under, out=np.full_like(over, np.nan), where=under > 0)
