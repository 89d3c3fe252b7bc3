"""Pictures to write and questions to ask about how they were read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from auditor.errors import InputError
from auditor.images import CleanImages

RNG = np.random.default_rng(0)


def pixels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def write(path: Path, array: np.ndarray | None = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(12, 12, 3) if array is None else array).save(path, **options)
    return path


def refused(path: Path, *parts: str, classes: Path | None = None) -> InputError:
    """Loading is refused with one InputError that contains every part and a next step."""
    with pytest.raises(InputError) as caught:
        CleanImages.from_path(path, classes)
    assert caught.value.exit_code == 2
    assert caught.value.next_step
    for part in parts:
        assert part in str(caught.value)
    return caught.value


def said(images: CleanImages, part: str) -> bool:
    return any(part in notice for notice in images.notices)
