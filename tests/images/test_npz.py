""".npz archives: the names and layouts read, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_sets import pixels, refused, said

from auditor.images import CleanImages


def npz(root: Path, **arrays: Any) -> Path:
    np.savez(root / "clean.npz", **arrays)
    return root / "clean.npz"


@pytest.mark.parametrize("keys", [("x", "y"), ("images", "labels")])
def test_npz_is_read_under_both_pairs_of_names(tmp_path: Path, keys: tuple[str, str]) -> None:
    x = pixels(4, 16, 12, 3)
    images = CleanImages.from_path(npz(tmp_path, **{keys[0]: x, keys[1]: np.arange(4), "extra": np.ones(3)}))
    assert np.array_equal(images.images, x)
    assert images.labels is not None and images.labels.tolist() == [0, 1, 2, 3]
    assert images.notices == []


def test_float_nchw_means_the_same_as_uint8_nhwc(tmp_path: Path) -> None:
    x = pixels(4, 16, 12, 3)
    as_float = (x.transpose(0, 3, 1, 2) / 255).astype(np.float32)
    images = CleanImages.from_path(npz(tmp_path, x=np.asfortranarray(as_float), y=np.arange(4)))
    same = CleanImages.from_arrays(x, [0, 1, 2, 3])
    assert np.array_equal(images.images, x)
    assert images.sha256 == same.sha256


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_other_layout_is_read_with_a_notice(dtype: type) -> None:
    x = pixels(4, 16, 12, 3) // 2
    given = x.transpose(0, 3, 1, 2) if dtype == np.uint8 else x.astype(dtype) / 255
    images = CleanImages.from_arrays(given, np.zeros(4, dtype=np.int64))
    assert np.array_equal(images.images, x)
    assert said(images, "were read as")


def test_arrays_without_labels_or_channels_are_read_with_a_notice() -> None:
    images = CleanImages.from_arrays(pixels(5, 28, 28))
    assert np.asarray(images.images).shape == (5, 28, 28, 1)
    assert images.labels is None
    assert said(images, "no labels") and said(images, "grey images")


def test_npz_with_object_arrays_is_refused(tmp_path: Path) -> None:
    x = np.array([pixels(8, 8, 3), pixels(9, 9, 3)], dtype=object)
    refused(npz(tmp_path, x=x, y=np.arange(2)), "x.npy holds Python objects")


def test_npz_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.images.clean.MAX_BYTES", 10**6)
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros((400, 32, 32, 3), dtype=np.uint8))
    assert (tmp_path / "bomb.npz").stat().st_size < 10_000
    refused(tmp_path / "bomb.npz", "unpacks to 1,228,", "at most 1,000,000")


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({"y": np.arange(2)}, ("neither x nor images",)),
        ({"x": np.zeros((2, 8, 8, 3), np.uint8), "images": np.zeros((2, 8, 8, 3), np.uint8)}, ("both x and images",)),
    ],
)
def test_npz_without_exactly_one_set_of_images_is_refused(
    tmp_path: Path, arrays: dict[str, Any], parts: tuple[str, ...]
) -> None:
    refused(npz(tmp_path, **arrays), *parts)


def test_file_named_npz_that_is_not_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"\x80\x04cos\nsystem\n.")
    refused(tmp_path / "a.npz", "not a readable .npz")


@pytest.mark.parametrize("flag", [0x20, 0x40], ids=["patched data", "strong encryption"])
def test_what_zipfile_does_not_implement_is_refused(tmp_path: Path, flag: int) -> None:
    """It says so by a NotImplementedError, which must not end the program."""
    path = npz(tmp_path, x=pixels(4, 16, 12, 3), y=np.arange(4))
    raw = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = raw.find(signature)
        while at >= 0:
            raw[at + offset] |= flag
            at = raw.find(signature, at + 1)
    path.write_bytes(raw)
    refused(path, "not a readable .npz")
