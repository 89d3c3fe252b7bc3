"""Arrays that events carry, as small files: pixels and heat-maps.

Legend: N images, H height, W width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.errors import InputError, printable
from auditor.files import inside
from auditor.npz import read_arrays

MAX_BYTES = 64 * 2**20
MAX_SIDE = 4096
STORED_SIDE = 96
MOST_CHANNELS = 4


def load_picture(run: Path, relative: str) -> NDArray[np.float32]:
    """The array an event names, (H, W, 3) or (N, H, W) and the like; 8-bit pixels as [0, 1].

    The folder may come from anyone. Raises InputError when the file is outside it, too large or
    not a picture.
    """
    path = inside(run, relative)
    try:
        is_link = path.is_symlink()
    except OSError as error:
        raise InputError(
            f"{printable(relative)!r} cannot be read: {error.strerror}.", "Check the run folder."
        ) from error
    if is_link:
        raise InputError(f"{printable(relative)!r} is a link.", "Remove it from the run folder.")
    array = read_arrays(path, max_bytes=MAX_BYTES, wanted={"picture"}).get("picture")
    if array is None or array.dtype.kind not in "biuf" or not _is_shown(array.shape):
        raise InputError(f"{printable(relative)!r} does not hold a picture.", "Run the audit again.")
    pixels: NDArray[np.float32] = np.nan_to_num(array.astype(np.float32))
    return pixels / np.float32(255) if array.dtype == np.uint8 else pixels


def _is_shown(shape: tuple[int, ...]) -> bool:
    return 2 <= len(shape) <= 4 and all(1 <= side <= MAX_SIDE for side in shape)


def compact(array: NDArray[Any]) -> NDArray[Any]:
    """Pixels in [0, 1] as 8 bits, other numbers as float32, uint8 as it is; at most 96 high and wide."""
    array = _small(array)
    if array.dtype.kind != "f":
        return array
    finite = np.nan_to_num(array.astype(np.float32))
    if array.size and (finite.min() < 0 or finite.max() > 1):
        return finite
    return np.rint(finite * 255).astype(np.uint8)


def _small(array: NDArray[Any]) -> NDArray[Any]:
    """Pictures (H, W), (H, W, C) or (N, H, W) above the stored size, averaged over whole blocks down to it."""
    last = 1 if array.ndim == 3 and array.shape[2] <= MOST_CHANNELS else 0
    if array.ndim not in (2, 3) or array.dtype.kind not in "fu":
        return array
    height, width = array.shape[array.ndim - last - 2 : array.ndim - last]
    factor = -(-max(height, width) // STORED_SIDE)
    if factor <= 1 or min(height, width) < factor:
        return array
    rows, columns = height // factor, width // factor
    kept = np.moveaxis(array, 2, 0) if last else array
    kept = kept[..., : rows * factor, : columns * factor]
    mean = kept.reshape(*kept.shape[:-2], rows, factor, columns, factor).mean((-3, -1)).astype(array.dtype)
    return np.moveaxis(mean, 0, 2) if last else mean
