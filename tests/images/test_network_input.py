"""What the network takes: size, channels, and the record of the set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from image_sets import pixels, write

from auditor.errors import InputError
from auditor.images import CleanImages


def test_to_input_of_matching_images_is_exact() -> None:
    x = pixels(3, 8, 9, 3)
    batch, notices = CleanImages.from_arrays(x).to_input((3, 8, 9))
    assert batch.dtype == np.float32 and batch.flags.c_contiguous
    assert np.array_equal(batch, (x.astype(np.float32) / 255).transpose(0, 3, 1, 2))
    assert notices == []


def test_resizing_is_antialiased_and_said() -> None:
    # Given stripes one pixel wide, plain bilinear sampling would keep black or white pixels.
    x = np.zeros((1, 64, 64, 1), dtype=np.uint8)
    x[:, :, ::2] = 255
    batch, notices = CleanImages.from_arrays(x).to_input((1, 16, 16))
    assert np.abs(batch[..., 1:-1] - 0.5).max() < 0.05
    assert notices == ["Images were resized from 64 x 64 to 16 x 16."]


def test_grey_and_colour_convert_with_a_notice() -> None:
    grey, notices = CleanImages.from_arrays(np.full((1, 8, 8, 3), (255, 0, 0), np.uint8)).to_input((1, 8, 8))
    assert np.allclose(grey, 76 / 255)  # ITU-R 601: 0.299 of full red
    assert notices == ["Images were converted to grey."]
    colour, notices = CleanImages.from_arrays(np.full((1, 8, 8, 1), 51, np.uint8)).to_input((3, 8, 8))
    assert np.allclose(colour, 0.2) and colour.shape == (1, 3, 8, 8)
    assert "colour" in notices[0]


def test_images_of_several_sizes_are_kept_and_resized_later(tmp_path: Path) -> None:
    write(tmp_path / "a.png", pixels(12, 12, 3))
    write(tmp_path / "b.png", pixels(24, 16, 3))
    images = CleanImages.from_path(tmp_path)
    assert [image.shape for image in images.images] == [(12, 12, 3), (24, 16, 3)]
    batch, notices = images.to_input((3, 16, 16))
    assert batch.shape == (2, 3, 16, 16)
    assert "1 other size" in notices[0] and "aspect ratio" in notices[1]
    assert len(images.sha256) == 64


def test_network_of_other_channels_and_oversized_batches_are_refused() -> None:
    images = CleanImages.from_arrays(pixels(2, 8, 8, 3))
    with pytest.raises(InputError, match="4 channels"):
        images.to_input((4, 8, 8))
    with pytest.raises(InputError, match="more than"):
        images.to_input((3, 60_000, 60_000))


def test_sha256_covers_pixels_labels_and_order() -> None:
    x = pixels(3, 8, 8, 3)
    changed = x.copy()
    changed[2, 7, 7, 2] ^= 1
    sets = [(x, [0, 1, 2]), (changed, [0, 1, 2]), (x, [0, 1, 1]), (x, None), (x[::-1], [2, 1, 0])]
    assert len({CleanImages.from_arrays(*pair).sha256 for pair in sets}) == 5
    assert CleanImages.from_arrays(x, [0, 1, 2]).sha256 == CleanImages.from_arrays(x.copy(), [0, 1, 2]).sha256


def test_summary_is_the_images_part_of_the_result() -> None:
    images = CleanImages.from_arrays(pixels(2, 8, 8, 3), [0, 1], ["a\x1b", "b"])
    summary = images.summary(notices=["resized"])
    assert (summary.count, summary.work, summary.verify, summary.labelled) == (2, 2, 0, True)
    assert summary.class_names == ["a\ufffd", "b"]
    assert summary.notices == ["resized"]
