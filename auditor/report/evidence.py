"""Reads the arrays under `evidence/`, checked before they are allocated.

Legend: N images, C channels, H height, W width. A missing or malformed file raises
`EvidenceError`; the report then leaves the picture out and says why.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auditor.errors import InputError

LARGEST_BYTES = 256 * 2**20
MOST_MEMBERS = 64
LARGEST_SIDE = 4096

Array = NDArray[np.generic]


class EvidenceError(InputError):
    """An evidence file is missing, outside the run folder, or not of the agreed shape."""

    kind = "evidence"


@dataclass(frozen=True, kw_only=True, eq=False)
class TriggerArrays:
    """A synthesized trigger: `mask` (H, W) and `pattern` (H, W, C), or `delta` (H, W, C), or neither."""

    mask: NDArray[np.float32] | None = None
    pattern: NDArray[np.float32] | None = None
    delta: NDArray[np.float32] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class StampedImages:
    """Clean images and the same with the trigger, uint8 (N, H, W, C), with labels and predictions (N,)."""

    clean: NDArray[np.uint8]
    triggered: NDArray[np.uint8]
    true: NDArray[np.int64]
    predicted_clean: NDArray[np.int64]
    predicted_triggered: NDArray[np.int64]
    predicted_sanitized: NDArray[np.int64] | None = None
    support: NDArray[np.bool_] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class HeatMaps:
    """Triggered images uint8 (N, H, W, C) and their Grad-CAM maps in [0, 1], (N, H, W)."""

    images: NDArray[np.uint8]
    before: NDArray[np.float32]
    after: NDArray[np.float32] | None = None
    support: NDArray[np.bool_] | None = None
    true: NDArray[np.int64] | None = None
    predicted_before: NDArray[np.int64] | None = None
    predicted_after: NDArray[np.int64] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class WatchedImages:
    """The fixed images that unlearning was watched on, uint8 (N, H, W, C) with the trigger on its pixels (H, W)."""

    images: NDArray[np.uint8]
    support: NDArray[np.bool_] | None = None


def inside(run_folder: Path, relative: str) -> Path:
    """The path of an evidence file. Raises EvidenceError when it leads out of the run folder."""
    name = Path(relative)
    if not relative or name.is_absolute() or ".." in name.parts or "\\" in relative or "\N{NULL}" in relative:
        raise EvidenceError(f"{relative!r} is not a path inside the run folder.")
    path = run_folder / name
    try:
        is_inside = path.resolve().is_relative_to(run_folder.resolve())
        if not is_inside or not path.is_file():
            raise EvidenceError(f"{relative} is not there.")
    except (OSError, RuntimeError) as error:
        raise EvidenceError(f"{relative} cannot be read.") from error
    return path


def read_arrays(path: Path) -> dict[str, Array]:
    """Every array of an .npz file, refusing pickles and headers that claim more than the file holds.

    Raises EvidenceError.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise EvidenceError(f"{path.name} is too large.")
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MOST_MEMBERS or sum(member.file_size for member in members) > LARGEST_BYTES:
                raise EvidenceError(f"{path.name} unpacks to too much.")
            for member in members:
                _check_header(archive, member, path.name)
        with np.load(path, allow_pickle=False) as stored:
            return {key: np.asarray(stored[key]) for key in stored.files}
    except EvidenceError:
        raise
    except Exception as error:
        # zipfile, zlib and numpy's header parser raise nearly any type on a broken file.
        raise EvidenceError(f"{path.name} is not an array file ({type(error).__name__}).") from error


def _check_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> None:
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
    claimed = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or any(side < 0 for side in shape) or claimed > member.file_size:
        raise EvidenceError(f"{name} holds an array that is not what its header says.")


def _take(
    arrays: Mapping[str, Array], key: str, kinds: str, shape: Sequence[int | None], name: str, *, optional: bool = False
) -> Array | None:
    """One array, checked for dtype kind (numpy letters) and shape (None = any length up to 4096)."""
    array = arrays.get(key)
    if array is None:
        if optional:
            return None
        raise EvidenceError(f"{name} has no array {key!r}.")
    fits = array.ndim == len(shape) and all(
        (1 <= have <= LARGEST_SIDE) if want is None else have == want
        for have, want in zip(array.shape, shape, strict=True)
    )
    if array.dtype.kind not in kinds or not fits:
        raise EvidenceError(f"{name}: array {key!r} has type {array.dtype} and shape {array.shape}.")
    return array


def _floats(array: Array | None) -> NDArray[np.float32] | None:
    """As float32 with NaN and infinities as 0 and 1, so that they can be drawn."""
    if array is None:
        return None
    with np.errstate(over="ignore"):
        return np.nan_to_num(array.astype(np.float32), nan=0.0, posinf=1.0, neginf=-1.0)


def _labels(arrays: Mapping[str, Array], key: str, n: int, name: str) -> NDArray[np.int64] | None:
    found = _take(arrays, key, "iu", (n,), name, optional=True)
    return None if found is None else found.astype(np.int64)


def _images(arrays: Mapping[str, Array], key: str, shape: Sequence[int | None], name: str) -> NDArray[np.uint8]:
    found = _take(arrays, key, "u", shape, name)
    if found is None or found.dtype != np.uint8 or found.shape[3] not in (1, 3):
        raise EvidenceError(f"{name}: {key!r} is not uint8 images with 1 or 3 channels.")
    return found.astype(np.uint8)


def read_trigger(path: Path) -> TriggerArrays:
    """A `trigger_<i>.npz`. Parameters of families that have no picture of their own are ignored."""
    arrays, name = read_arrays(path), path.name
    mask = _floats(_take(arrays, "parameter_mask", "f", (None, None), name, optional=True))
    pattern = _channels_last(arrays, "parameter_pattern", name)
    if pattern is not None and mask is not None and pattern.shape[:2] != mask.shape:
        raise EvidenceError(f"{name}: pattern and mask differ in size.")
    return TriggerArrays(
        mask=mask, pattern=pattern, delta=_channels_last(arrays, "parameter_delta", name),
    )  # fmt: skip


def _channels_last(arrays: Mapping[str, Array], key: str, name: str) -> NDArray[np.float32] | None:
    found = _floats(_take(arrays, key, "f", (None, None, None), name, optional=True))
    if found is None:
        return None
    if found.shape[0] not in (1, 3):
        raise EvidenceError(f"{name}: {key!r} has {found.shape[0]} channels.")
    return np.moveaxis(found, 0, -1)


def read_stamped(path: Path) -> StampedImages:
    """A `stamped_<i>.npz`."""
    arrays, name = read_arrays(path), path.name
    clean = _images(arrays, "clean", (None,) * 4, name)
    n, height, width = clean.shape[:3]
    required = [_labels(arrays, key, n, name) for key in ("true", "predicted_clean", "predicted_triggered")]
    true, predicted_clean, predicted_triggered = required
    if true is None or predicted_clean is None or predicted_triggered is None:
        raise EvidenceError(f"{name} lacks labels or predictions.")
    return StampedImages(
        clean=clean, triggered=_images(arrays, "triggered", clean.shape, name),
        true=true, predicted_clean=predicted_clean, predicted_triggered=predicted_triggered,
        predicted_sanitized=_labels(arrays, "predicted_sanitized", n, name),
        support=_support(arrays, height, width, name),
    )  # fmt: skip


def read_heat_maps(path: Path) -> HeatMaps:
    """The `attention.npz` that `result.attention.panels` names."""
    arrays, name = read_arrays(path), path.name
    images = _images(arrays, "images", (None,) * 4, name)
    n, height, width = images.shape[:3]
    before = _floats(_take(arrays, "before", "f", (n, height, width), name))
    if before is None:
        raise EvidenceError(f"{name} has no heat-maps.")
    return HeatMaps(
        images=images, before=before,
        after=_floats(_take(arrays, "after", "f", (n, height, width), name, optional=True)),
        support=_support(arrays, height, width, name),
        true=_labels(arrays, "true", n, name),
        predicted_before=_labels(arrays, "predicted_before", n, name),
        predicted_after=_labels(arrays, "predicted_after", n, name),
    )  # fmt: skip


def read_watched(path: Path) -> WatchedImages:
    """The `watched.npz` of a run."""
    arrays, name = read_arrays(path), path.name
    images = _images(arrays, "images", (None,) * 4, name)
    _, height, width, _ = images.shape
    return WatchedImages(images=images, support=_support(arrays, height, width, name))


def read_frame(path: Path, watched: WatchedImages) -> NDArray[np.float32]:
    """The heat-maps (N, H, W) in [0, 1] of one step, brought to the size of the watched images.

    They are stored as 8 bits or as floats, and smaller than large images are.
    """
    n, height, width = watched.images.shape[:3]
    found = _take(read_arrays(path), "picture", "uf", (n, None, None), path.name)
    if found is None or found.shape[1] > height or found.shape[2] > width:
        raise EvidenceError(f"{path.name} does not fit the watched images.")
    heat = _floats(found)
    assert heat is not None
    heat = heat / np.float32(255) if found.dtype.kind == "u" else heat
    rows = np.minimum(np.arange(height) * heat.shape[1] // height, heat.shape[1] - 1)
    columns = np.minimum(np.arange(width) * heat.shape[2] // width, heat.shape[2] - 1)
    return np.clip(heat, 0, 1)[:, rows][:, :, columns]


def _support(arrays: Mapping[str, Array], height: int, width: int, name: str) -> NDArray[np.bool_] | None:
    found = _take(arrays, "support", "b", (height, width), name, optional=True)
    return None if found is None else found.astype(np.bool_)
