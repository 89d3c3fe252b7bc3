"""The real image sets of the shared folder, and the bases to fine-tune from.

Legend: N images, C channels, H height, W width.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """Images (N, C, H, W) uint8, their labels (N,) int64, and the class names."""

    images: Tensor
    labels: Tensor
    class_names: list[str]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor | slice) -> Images:
        """The images at `index`."""
        return Images(images=self.images[index], labels=self.labels[index], class_names=self.class_names)


@functools.cache
def load_images(name: str, limit: int | None = None, *, shared: Path = SHARED) -> Images:
    """The set `name`, or its first `limit` images.

    Raises FileNotFoundError when the shared folder does not hold it.
    """
    folder = shared / "data" / name
    meta = json.loads((folder / "meta.json").read_text())
    wanted = meta["count"] if limit is None else min(limit, meta["count"])
    parts: list[np.ndarray[Any, np.dtype[np.uint8]]] = []
    for path in sorted(folder.glob("*.webp")):
        if sum(map(len, parts)) < wanted:
            with Image.open(path) as mosaic:
                parts.append(cut_mosaic(np.asarray(mosaic.convert("RGB")), meta["size"]))
    pixels = np.ascontiguousarray(np.concatenate(parts)[:wanted].transpose(0, 3, 1, 2))
    labels = np.load(folder / "labels.npy", allow_pickle=False)[:wanted].astype(np.int64)
    return Images(images=torch.from_numpy(pixels), labels=torch.from_numpy(labels), class_names=meta["classes"])


def cut_mosaic(mosaic: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    """The square tiles (N, size, size, C) of a mosaic, row by row."""
    rows, columns = mosaic.shape[0] // size, mosaic.shape[1] // size
    tiles = mosaic[: rows * size, : columns * size].reshape(rows, size, columns, size, -1)
    return tiles.swapaxes(1, 2).reshape(rows * columns, size, size, -1)


def load_base(name: str, *, shared: Path = SHARED) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The float32 weights of an honest base and its meta.json."""
    return load_built(shared / "zoo" / "bases" / name)


def load_built(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The float32 weights and the meta.json of a model's folder. Raises FileNotFoundError when it is not there."""
    state = torch.load(folder / "model.pt", map_location="cpu", weights_only=True)
    meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}, meta
