"""Turns arrays of images and labels into the one form everything here uses, or says why not.

Legend: N images, H height, W width, C channels (1 grey, 3 colour).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.errors import InputError

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]

MIN_SIDE = 8
MAX_IMAGES = 20_000
MAX_BYTES = 2 * 1024**3
MAX_LABEL = 10**6
_FORM = "Give uint8 (N, H, W, C) in 0..255 or float (N, C, H, W) in [0, 1], with C = 1 or 3."
_ROUNDING = 1e-3


def as_pixels(x: Any, where: str) -> tuple[Pixels, list[str]]:
    """Images as uint8 (N, H, W, C), and notices of what was inferred.

    Float images are rounded to the nearest of 256 levels. Raises InputError when the shape,
    type or range is none that is accepted.
    """
    array = np.asarray(x)
    if array.dtype.kind not in "uif" or (array.dtype.kind in "ui" and array.dtype != np.uint8):
        raise InputError(f"{where}: the images have type {array.dtype}.", _FORM)
    if array.size > MAX_BYTES or (array.ndim and len(array) > MAX_IMAGES):
        raise InputError(
            f"{where}: {len(array):,} images with {array.size:,} values are too many.",
            f"At most {MAX_IMAGES:,} images and {MAX_BYTES:,} values are read; a few hundred images suffice.",
        )
    array, notices = _as_nhwc(array, where)
    check_sides(array.shape[1:3], where, is_empty=len(array) == 0)
    if array.dtype != np.uint8:
        return _quantized(array, where), notices
    if array.size and array.max() <= 1:
        notices.append(f"{where}: every pixel is 0 or 1 of 255, so the images are almost black.")
    return np.ascontiguousarray(array), notices


def _as_nhwc(array: NDArray[Any], where: str) -> tuple[NDArray[Any], list[str]]:
    """The array with channels last, by its shape; its type decides where the shape leaves it open."""
    if array.ndim == 3:
        return array[..., None], [f"{where}: shape {array.shape} was read as grey images (N, H, W)."]
    if array.ndim != 4:
        raise InputError(f"{where}: the images have shape {array.shape}.", _FORM)
    is_first, is_last = array.shape[1] in (1, 3), array.shape[3] in (1, 3)
    if not (is_first or is_last):
        raise InputError(f"{where}: the images have shape {array.shape}, with neither 1 nor 3 channels.", _FORM)
    is_expected_first = array.dtype != np.uint8
    if is_first and is_last:
        is_first = is_expected_first
    notices = []
    if is_first != is_expected_first:
        layout = "(N, C, H, W)" if is_first else "(N, H, W, C)"
        notices.append(f"{where}: {array.dtype} images of shape {array.shape} were read as {layout}.")
    return (array.transpose(0, 2, 3, 1) if is_first else array), notices


def check_sides(sides_HW: tuple[int, ...], where: str, *, is_empty: bool = False) -> None:
    """Raises InputError when an image is smaller than any classifier could use."""
    if not is_empty and min(sides_HW) < MIN_SIDE:
        height, width = sides_HW
        raise InputError(
            f"{where}: {width} x {height} pixels are too few.", f"Give images of at least {MIN_SIDE} x {MIN_SIDE}."
        )


def _quantized(array: NDArray[Any], where: str) -> Pixels:
    """Floats in [0, 1] as uint8."""
    if not np.isfinite(array).all():
        raise InputError(f"{where}: the images hold NaN or infinite pixels.", "Give finite pixels in [0, 1].")
    if not array.size:
        return np.zeros(array.shape, dtype=np.uint8)
    low, high = float(array.min()), float(array.max())
    if low < -_ROUNDING:
        raise InputError(
            f"{where}: the pixels run from {low:.4g} to {high:.4g}; they look normalised.",
            "Undo the mean and standard deviation, and give floats in [0, 1].",
        )
    if high > 1 + _ROUNDING:
        raise InputError(
            f"{where}: the pixels run from {low:.4g} to {high:.4g}, not within [0, 1].",
            "Divide by 255, or store them as uint8." if high <= 255 else _FORM,
        )
    # In batches, so that a large float array is not copied whole at a wider type.
    parts = [np.rint(batch.clip(0, 1) * 255).astype(np.uint8) for batch in np.array_split(array, len(array))]
    return np.ascontiguousarray(np.concatenate(parts))


def as_labels(y: Any, count: int, where: str) -> Labels:
    """Labels as int64 (N,). Raises InputError unless they are `count` class indices."""
    array = np.asarray(y)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InputError(f"{where}: the labels have shape {array.shape}.", "Give one class index an image, (N,).")
    if len(array) != count:
        raise InputError(
            f"{where}: there are {len(array):,} labels for {count:,} images.", "Give one label an image, in order."
        )
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    if array.dtype.kind not in "ui":
        raise InputError(f"{where}: the labels have type {array.dtype}.", "Give whole numbers, counted from 0.")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > MAX_LABEL:
        raise InputError(
            f"{where}: the labels run from {low} to {high}.", "Give class indices from 0 to the number of classes - 1."
        )
    return array.astype(np.int64)
