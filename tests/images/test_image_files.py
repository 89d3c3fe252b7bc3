"""Image files: formats, depths and the hostile ones we know of."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_sets import pixels, refused, said, write
from PIL import Image

from auditor.images import CleanImages


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *, depth: int = 8, colour: int = 0, data: bytes = b"\0") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def one(root: Path, name: str = "a.png") -> np.ndarray:
    images = CleanImages.from_path(root)
    assert len(images) == 1, name
    return np.asarray(images.images[0])


def broken(cut: Callable[[bytes], bytes]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels(32, 32, 3)).save(stream, "PNG")
    return cut(stream.getvalue())


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("truncated.png", broken(lambda data: data[: len(data) // 2])),
        ("corrupt.png", broken(lambda data: data[:200] + b"\xff" * 400 + data[600:])),
        ("header_only.png", broken(lambda data: data[:33])),
        ("empty.png", b""),
        ("text.jpg", b"not an image at all"),
        ("no_pixels.png", png(32, 32, data=b"")),
        ("zero.png", png(0, 0)),
        ("jpeg_cut.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF"),
    ],
)
def test_broken_image_is_refused_by_name(tmp_path: Path, name: str, data: bytes) -> None:
    write(tmp_path / "0" / "good.png")
    (tmp_path / "0" / name).write_bytes(data)
    refused(tmp_path, name, "cannot be decoded")


def test_bomb_png_is_refused_by_its_header(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png(50_000, 50_000))
    refused(tmp_path, "bomb.png", "50,000,000")
    (tmp_path / "bomb.png").write_bytes(png(8_000, 8_000))
    refused(tmp_path, "bomb.png", "8000 x 8000")


def test_text_chunk_bomb_is_refused(tmp_path: Path) -> None:
    data = png(8, 8, data=b"\0" * 72)
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"\0" * 50_000_000))
    (tmp_path / "bomb.png").write_bytes(data[:33] + bomb + data[33:])
    refused(tmp_path, "bomb.png")


@pytest.mark.parametrize("kind", ["GIF", "TIFF"])
def test_format_outside_the_list_is_refused_whatever_its_name(tmp_path: Path, kind: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(pixels(12, 12, 3)).save(stream, kind)
    (tmp_path / "a.png").write_bytes(stream.getvalue())
    refused(tmp_path, "a.png", "none of PNG")


def test_slow_text_ppm_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.ppm").write_bytes(b"P3 9 9 255 " + b"1 " * 243)
    refused(tmp_path, "a.ppm", "binary 8-bit PPM")


@pytest.mark.parametrize("suffix", ["png", "bmp", "ppm", "webp"])
def test_lossless_formats_keep_every_pixel(tmp_path: Path, suffix: str) -> None:
    array = pixels(16, 12, 3)
    options = {"lossless": True} if suffix == "webp" else {}
    write(tmp_path / f"a.{suffix.upper()}", array, **options)
    assert np.array_equal(one(tmp_path), array)


def test_too_small_image_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "tiny.png", pixels(7, 9, 3))
    refused(tmp_path, "tiny.png", "9 x 7", "8 x 8")


def test_16_bit_png_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([0, 128, 129, 257, 32896, 65535, 300, 65406], dtype=np.uint16)
    write(tmp_path / "a.png", np.tile(values, (8, 1)))
    assert one(tmp_path)[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255, 1, 254]
    assert said(CleanImages.from_path(tmp_path), "16 to 8 bits")


def test_palette_png_becomes_its_colours(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "a.png")
    assert one(tmp_path)[0, 0].tolist() == [10, 20, 30]


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    rgba = np.zeros((8, 8, 4), dtype=np.uint8)
    rgba[0, 0] = (200, 0, 0, 255)
    write(tmp_path / "a.png", rgba)
    found = one(tmp_path)
    assert found[0, 0].tolist() == [200, 0, 0] and found[1, 1].tolist() == [255, 255, 255]
    assert said(CleanImages.from_path(tmp_path), "transparent")


def test_opaque_alpha_changes_nothing(tmp_path: Path) -> None:
    array = pixels(8, 8, 3)
    write(tmp_path / "a.png", np.dstack([array, np.full((8, 8, 1), 255, dtype=np.uint8)]))
    assert np.array_equal(one(tmp_path), array)
    assert not said(CleanImages.from_path(tmp_path), "transparent")


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    red, green, blue = one(tmp_path)[8, 8]
    assert red > 240 and green < 15 and blue < 15


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    array = pixels(8, 12, 3)
    write(tmp_path / "a.png", array, exif=exif)
    assert np.array_equal(one(tmp_path), np.rot90(array, -1))
    assert said(CleanImages.from_path(tmp_path), "EXIF")


def test_photograph_is_reduced_on_reading(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", np.zeros((1100, 2200, 3), dtype=np.uint8))
    assert one(tmp_path).shape == (1024, 2048, 3)


def test_only_the_first_frame_is_read(tmp_path: Path) -> None:
    frames = [Image.fromarray(pixels(12, 12, 3)) for _ in range(3)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    assert np.array_equal(one(tmp_path), np.asarray(frames[0]))
    assert said(CleanImages.from_path(tmp_path), "first frame")


def test_grey_beside_colour_becomes_colour(tmp_path: Path) -> None:
    grey = pixels(12, 12)
    write(tmp_path / "a.png", grey)
    write(tmp_path / "b.png")
    images = CleanImages.from_path(tmp_path)
    assert np.asarray(images.images).shape == (2, 12, 12, 3)
    assert np.array_equal(images.images[0][..., 2], grey)
