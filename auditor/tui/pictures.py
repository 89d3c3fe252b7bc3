"""Arrays that events carry, made drawable; anything else is dropped."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auditor.events import Picture

Pixels = NDArray[np.float32]


def image(picture: Picture) -> Pixels | None:
    """The picture as (H, W, 3) in [0, 1], grey repeated; None when it is not one."""
    if not isinstance(picture, np.ndarray) or picture.ndim not in (2, 3) or 0 in picture.shape:
        return None
    pixels = np.clip(np.nan_to_num(picture.astype(np.float32)), 0, 1)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return np.repeat(pixels[..., :1], 3, axis=2) if pixels.shape[2] < 3 else pixels[..., :3]


def heat_maps(picture: Picture) -> Pixels | None:
    """The maps as (n, H, W) in [0, 1]; None when they are not such."""
    if not isinstance(picture, np.ndarray) or picture.ndim not in (2, 3) or 0 in picture.shape:
        return None
    maps = np.clip(np.nan_to_num(picture.astype(np.float32)), 0, 1)
    return maps[None] if maps.ndim == 2 else maps
