"""Arrays that are no image set: ranges, shapes and labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_sets import write

from auditor.errors import InputError
from auditor.images import CleanImages

ONES = np.full((2, 3, 8, 8), 0.5, dtype=np.float32)


@pytest.mark.parametrize(
    ("x", "part"),
    [
        (np.where(np.arange(8) == 3, np.nan, ONES), "NaN"),
        (np.where(np.arange(8) == 3, np.inf, ONES), "NaN or infinite"),
        (ONES * 400, "200"),
        (ONES * 4 - 3, "normalised"),
        (ONES.astype(np.int64), "int64"),
        (ONES.astype(np.uint16), "uint16"),
        (ONES > 0, "bool"),
        (ONES.astype(np.complex64), "complex64"),
        (np.array(["a"]), "type"),
        (np.array([object()]), "object"),
        (ONES[0, 0], "shape (8, 8)"),
        (np.zeros((2, 4, 8, 8), np.uint8), "neither 1 nor 3"),
        (np.zeros((2, 7, 8, 3), np.uint8), "8 x 7 pixels are too few"),
        (np.zeros((2, 0, 8, 3), np.uint8), "too few"),
        (np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (20_001, 8, 8, 3), (0, 0, 0, 0)), "too many"),
    ],
)
def test_array_that_is_no_image_set_is_refused(x: np.ndarray, part: str) -> None:
    with pytest.raises(InputError) as caught:
        CleanImages.from_arrays(x)
    assert part in caught.value.what and caught.value.next_step


@pytest.mark.parametrize(
    ("y", "part"),
    [
        ([0, 1, 2], "3 labels for 2 images"),
        ([0, -1], "run from -1"),
        (np.array([0, 2**63], dtype=np.uint64), "9223372036854775808"),
        ([0.0, 1.0], "float64"),
        (np.eye(2, dtype=np.int64), "shape (2, 2)"),
        (["cat", "dog"], "type"),
        ([True, False], "bool"),
    ],
)
def test_labels_that_are_not_class_indices_are_refused(y: Any, part: str) -> None:
    with pytest.raises(InputError) as caught:
        CleanImages.from_arrays(ONES, y)
    assert part in caught.value.what


def test_label_beyond_the_model_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path / "0" / "a.png")
    write(tmp_path / "10" / "far.png")
    images = CleanImages.from_path(tmp_path)
    images.validate(11)
    with pytest.raises(InputError, match=r"far\.png has label 10, but the model has 10 classes"):
        images.validate(10)


def test_slight_overshoot_is_clipped_and_rounding_is_to_the_nearest_level() -> None:
    x = np.full((1, 1, 8, 8), 1.0005, dtype=np.float64)
    x[0, 0, 0, 0], x[0, 0, 0, 1] = -0.0005, 0.5
    images = CleanImages.from_arrays(x)
    assert images.images[0][0, :3, 0].tolist() == [0, 128, 255]
