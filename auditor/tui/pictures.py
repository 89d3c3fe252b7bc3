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


def checkered(mask: Pixels, pattern: Pixels) -> Pixels:
    """A pattern (H, W, 1 or 3) where its mask (H, W) lets it show, over a grey checkerboard where it does not."""
    height, width = mask.shape
    rows, columns = np.indices((height, width))
    cell = max(1, max(height, width) // 8)
    checks = np.where((rows // cell + columns // cell) % 2 == 0, 0.28, 0.36).astype(np.float32)[..., None]
    alpha = np.clip(mask, 0, 1)[..., None]
    shown: Pixels = np.clip((1 - alpha) * checks + alpha * pattern, 0, 1).repeat(3 // pattern.shape[2], axis=2)
    return shown


def tinted(delta: Pixels) -> Pixels:
    """A perturbation (H, W, 1 or 3) around mid-grey, amplified to fill the range."""
    peak = float(np.abs(delta).max()) or 1.0
    shown: Pixels = np.clip(0.5 + 0.5 * delta / peak, 0, 1).repeat(3 // delta.shape[2], axis=2).astype(np.float32)
    return shown


def heated(maps: Pixels) -> Pixels:
    """Heat in [0, 1] as colours with one more axis of 3: black, red, yellow, white."""
    bright = np.stack([np.clip(maps * 2, 0, 1), np.clip(maps * 2 - 0.7, 0, 1), np.clip(maps * 4 - 3, 0, 1)], axis=-1)
    shown: Pixels = (bright * 0.9 + 0.08).astype(np.float32)
    return shown


def overlaid(picture: Pixels, heat: Pixels) -> Pixels:
    """A heat-map (H, W) over the picture (H, W, 3), which is grey below it."""
    grey = picture.mean(axis=2, keepdims=True) * 0.75
    strength = np.clip(heat, 0, 1)[..., None]
    weight = 0.15 + 0.75 * strength
    shown: Pixels = np.clip((1 - weight) * grey + weight * heated(np.clip(heat, 0, 1)), 0, 1).astype(np.float32)
    return shown
