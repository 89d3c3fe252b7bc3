"""The user's clean images with their labels, and the form a network takes them in.

Legend: N images, C channels, H height, W width.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from auditor.domain import ImageSet
from auditor.errors import InputError, printable
from auditor.images.arrays import MAX_BYTES, Labels, Pixels, as_labels, as_pixels
from auditor.images.folder import read_folder
from auditor.images.labels import NO_LABELS, read_class_list
from auditor.images.split import Split
from auditor.npz import read_arrays

_KEYS = (("x", "y"), ("images", "labels"))
_FORMS = "Give a folder of images, or an .npz with x and y (uint8 NHWC, or float NCHW in [0, 1])."
MAX_INPUT_BYTES = 8 * 1024**3


@dataclass(frozen=True, eq=False)
class CleanImages:
    """Clean images and labels as they were read.

    `images` is uint8 (N, H, W, C) where all have one size, else a tuple of N arrays (H, W, C);
    C is 1 or 3 throughout. `labels` is (N,), or None when there are none. `class_names` is safe
    to show, and empty when the classes have no names. `sources` are file names, or empty.
    """

    images: Pixels | tuple[Pixels, ...]
    labels: Labels | None
    class_names: list[str] = field(default_factory=list)
    path: str = ""
    notices: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def from_path(cls, path: str | Path, classes: str | Path | None = None) -> CleanImages:
        """Read a folder (class folders, `labels.csv`, or unlabelled) or an .npz file.

        `classes` is a text file of class names in index order. A place without images gives an
        empty set with a notice. Raises InputError saying which file or line cannot be used.
        """
        path, classes = Path(path), None if classes is None else Path(classes)
        try:
            is_folder, is_file = path.is_dir(), path.is_file()
        except OSError as error:
            raise InputError(f"{printable(path)} cannot be read: {error.strerror}.", _FORMS) from error
        if is_folder:
            return cls._from_folder(path, classes)
        if is_file and path.suffix.lower() == ".npz":
            return cls._from_npz(path, classes)
        problem = "is neither a folder nor an .npz file" if os.path.lexists(path) else "does not exist"
        raise InputError(f"{printable(path)} {problem}.", _FORMS)

    @classmethod
    def from_arrays(cls, x: Any, y: Any = None, class_names: Sequence[str] | None = None) -> CleanImages:
        """Images and class indices already in memory: uint8 NHWC, or float NCHW in [0, 1].

        Raises InputError when shape, type, range or number are none of these.
        """
        return cls._checked(x, y, list(class_names or []), where="arrays", path="")

    @classmethod
    def _checked(cls, x: Any, y: Any, class_names: list[str], *, where: str, path: str) -> CleanImages:
        pixels, notices = as_pixels(x, where)
        labels = None if y is None else as_labels(y, len(pixels), where)
        if not len(pixels):
            notices.append(f"{where}: there are no images.")
        elif labels is None:
            notices.append(NO_LABELS)
        names = [printable(name, 80) for name in class_names]
        return cls(images=pixels, labels=labels, class_names=names, path=path, notices=notices)

    @classmethod
    def _from_npz(cls, path: Path, classes: Path | None) -> CleanImages:
        where = printable(path)
        stored = read_arrays(path, max_bytes=MAX_BYTES, wanted={key for pair in _KEYS for key in pair})
        pairs = [(x, y) for x, y in _KEYS if x in stored]
        if len(pairs) != 1:
            found = "both x and images" if pairs else "neither x nor images"
            raise InputError(f"{where} holds {found}.", _FORMS)
        names = read_class_list(classes) if classes else []
        return cls._checked(stored[pairs[0][0]], stored.get(pairs[0][1]), names, where=where, path=str(path))

    @classmethod
    def _from_folder(cls, path: Path, classes: Path | None) -> CleanImages:
        found = read_folder(path, classes)
        notices = list(found.notices)
        if not found.images:
            notices.append(f"No image was found in {printable(path)} or in folders directly below it.")
        return cls(
            images=_stacked(found.images),
            labels=None if found.labels is None else np.array(found.labels, dtype=np.int64),
            class_names=[printable(name, 80) for name in found.class_names],
            path=str(path), notices=notices, sources=found.sources,
        )  # fmt: skip

    @cached_property
    def sha256(self) -> str:
        """Hex digest over shape and pixels of every image and its label, in order."""
        digest = hashlib.sha256()
        for index, pixels in enumerate(self.images):
            label = "" if self.labels is None else str(self.labels[index])
            digest.update(f"{pixels.shape}:{label};".encode())
            digest.update(np.ascontiguousarray(pixels).data)
        return digest.hexdigest()

    def validate(self, num_classes: int) -> None:
        """Raises InputError when labels or class names do not fit a model of `num_classes`."""
        if self.class_names and len(self.class_names) != num_classes:
            raise InputError(
                f"{printable(self.path) or 'The images'}: there are {len(self.class_names)} class names, "
                f"but the model has {num_classes} classes.",
                "List all of the model's class names in index order with --classes FILE.",
            )
        if self.labels is None or not (self.labels >= num_classes).any():
            return
        first = int(np.argmax(self.labels >= num_classes))
        name = printable(self.sources[first]) if self.sources else f"image {first}"
        raise InputError(
            f"{printable(self.path) or 'The labels'}: {name} has label {self.labels[first]}, but the model "
            f"has {num_classes} classes (0 to {num_classes - 1}).",
            "Correct the labels, or the number of classes.",
        )

    def to_input(self, input_shape: tuple[int, int, int]) -> tuple[NDArray[np.float32], list[str]]:
        """The images as float32 (N, C, H, W) in [0, 1], and notices of what had to be converted.

        Resizes bilinearly with antialiasing, without keeping the aspect ratio. Raises InputError
        when the network takes neither grey nor colour images.
        """
        channels, height, width = input_shape
        if channels not in (1, 3):
            raise InputError(f"The model takes {channels} channels; images have 1 or 3.", "Audit an image classifier.")
        if len(self) * channels * height * width * 4 > MAX_INPUT_BYTES:
            raise InputError(
                f"{len(self):,} images of {width} x {height} need more than {MAX_INPUT_BYTES:,} bytes.",
                "Give fewer images: a few hundred suffice.",
            )
        batch_NCHW = np.empty((len(self), channels, height, width), dtype=np.float32)
        for index, pixels in enumerate(self.images):
            batch_NCHW[index] = _converted(pixels, channels, (width, height)).transpose(2, 0, 1)
        batch_NCHW /= 255
        return batch_NCHW, self._conversion_notices(input_shape)

    def _conversion_notices(self, input_shape: tuple[int, int, int]) -> list[str]:
        channels, height, width = input_shape
        sizes = {pixels.shape[:2] for pixels in self.images}
        notices = []
        if sizes - {(height, width)}:
            first = min(sizes - {(height, width)})
            more = f" and {len(sizes) - 1} other size(s)" if len(sizes) > 1 else ""
            notices.append(f"Images were resized from {first[1]} x {first[0]}{more} to {width} x {height}.")
        if any(h * width != w * height for h, w in sizes):
            notices.append("Resizing changed the aspect ratio of some images.")
        if len(self) and self.images[0].shape[2] != channels:
            notices.append(f"Images were converted to {'grey' if channels == 1 else 'three equal colour channels'}.")
        return notices

    def summary(self, split: Split | None = None, notices: Sequence[str] = ()) -> ImageSet:
        """The `images` part of the result; `notices` are added to those of reading and splitting."""
        return ImageSet(
            path=printable(self.path, 1000), count=len(self), labelled=self.labels is not None, sha256=self.sha256,
            work=len(split.work) if split else len(self), verify=len(split.verify) if split else 0,
            class_names=list(self.class_names),
            notices=[*self.notices, *(split.notices if split else ()), *notices],
        )  # fmt: skip


def _stacked(images: list[Pixels]) -> Pixels | tuple[Pixels, ...]:
    if not images:
        return np.zeros((0, 0, 0, 3), dtype=np.uint8)
    return np.stack(images) if len({pixels.shape for pixels in images}) == 1 else tuple(images)


def _converted(pixels: Pixels, channels: int, size_WH: tuple[int, int]) -> Pixels:
    """One image (H, W, C) in the size and number of channels asked for."""
    if pixels.shape[2] == channels and pixels.shape[1::-1] == size_WH:
        return pixels
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != size_WH:
        image = image.resize(size_WH, Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8).reshape(size_WH[1], size_WH[0], channels)
