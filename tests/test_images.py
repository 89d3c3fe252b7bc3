"""Clean images: every form a user may hand over, and the hostile cases we know of."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from auditor.errors import InputError
from auditor.images import CleanImages
from auditor.images import decode as decoding
from auditor.images import folder as folders

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


# --- class folders -------------------------------------------------------------------------


def test_numbered_folders_are_class_indices_in_numeric_order(tmp_path: Path) -> None:
    arrays = {name: pixels(12, 12, 3) for name in ("10", "2", "0")}
    for name, array in arrays.items():
        write(tmp_path / name / "a.png", array)
    images = CleanImages.from_path(tmp_path)
    assert images.labels is not None
    assert images.labels.tolist() == [0, 2, 10]
    assert np.array_equal(images.images[1], arrays["2"])
    assert images.sources == ["0/a.png", "2/a.png", "10/a.png"]
    assert images.class_names == []


def test_zero_padded_folders_are_numbers(tmp_path: Path) -> None:
    for name in ("007", "011"):
        write(tmp_path / name / "a.png")
    labels = CleanImages.from_path(tmp_path).labels
    assert labels is not None and labels.tolist() == [7, 11]


def test_two_folders_with_the_same_number_are_refused(tmp_path: Path) -> None:
    for name in ("1", "01"):
        write(tmp_path / name / "a.png")
    refused(tmp_path, "'01'", "'1'", "same class")


def test_classes_txt_in_the_root_gives_the_index(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write(tmp_path / name / "a.png")
    (tmp_path / "classes.txt").write_bytes(b"\xef\xbb\xbfdog\r\nfrog\r\ncat\r\n\r\n")
    images = CleanImages.from_path(tmp_path)
    assert images.labels is not None and images.labels.tolist() == [0, 2]
    assert images.class_names == ["dog", "frog", "cat"]
    assert images.notices == []


def test_given_class_list_wins_over_classes_txt(tmp_path: Path) -> None:
    write(tmp_path / "images" / "cat" / "a.png")
    (tmp_path / "images" / "classes.txt").write_text("cat\ndog\n")
    (tmp_path / "given.txt").write_text("dog\ncat\n")
    images = CleanImages.from_path(tmp_path / "images", tmp_path / "given.txt")
    assert images.labels is not None and images.labels.tolist() == [1]


def test_named_folders_without_a_list_are_sorted_and_it_is_said(tmp_path: Path) -> None:
    for name in ("dog", "cat"):
        write(tmp_path / name / "a.png")
    images = CleanImages.from_path(tmp_path)
    assert images.class_names == ["cat", "dog"]
    assert said(images, "sorted order")
    with pytest.raises(InputError, match="2 class names, but the model has 10"):
        images.validate(10)
    images.validate(2)


def test_folder_that_is_not_in_the_list_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "cow" / "a.png")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    refused(tmp_path, "'cow'", "list of 2 classes")


def test_numbers_mixed_with_names_are_refused(tmp_path: Path) -> None:
    for name in ("0", "extra"):
        write(tmp_path / name / "a.png")
    refused(tmp_path, "mix numbers (0) and names (extra)", "--classes")


def test_number_that_contradicts_the_list_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "1" / "a.png")
    (tmp_path / "classes.txt").write_text("1\n2\n")
    refused(tmp_path, "'1' is class 1 as a number, but class 0 in the list")


def test_number_beyond_the_list_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "4" / "a.png")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    refused(tmp_path, "class 4", "list of 2")


@pytest.mark.parametrize(
    ("text", "part"),
    [(b"cat\n\ndog\n", "line 2"), (b"cat\ndog\ncat\n", "line 3"), (b"", "0 classes"), (b"\xff\xfe", "UTF-8")],
)
def test_malformed_class_list_is_refused_naming_the_line(tmp_path: Path, text: bytes, part: str) -> None:
    write(tmp_path / "cat" / "a.png")
    (tmp_path / "classes.txt").write_bytes(text)
    refused(tmp_path, "classes.txt", part)


def test_missing_class_list_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "cat" / "a.png")
    refused(tmp_path, "none.txt", classes=tmp_path / "none.txt")


def test_class_list_is_not_read_through_a_link_that_leaves_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("root\n")
    write(tmp_path / "images" / "cat" / "a.png")
    (tmp_path / "images" / "classes.txt").symlink_to(tmp_path / "secret.txt")
    refused(tmp_path / "images", "classes.txt", "leaves the folder")


def test_unicode_names_match_however_they_are_composed(tmp_path: Path) -> None:
    write(tmp_path / "cafe\u0301" / "a.png")
    (tmp_path / "classes.txt").write_text("日本\ncaf\u00e9\n", encoding="utf-8")
    images = CleanImages.from_path(tmp_path)
    assert images.labels is not None and images.labels.tolist() == [1]
    assert images.class_names == ["日本", "caf\u00e9"]


def test_control_characters_in_class_names_are_made_visible(tmp_path: Path) -> None:
    write(tmp_path / "\x1b[2Jcat\u202etac\n" / "a.png")
    write(tmp_path / os.fsdecode(b"bad\xff") / "a.png")
    images = CleanImages.from_path(tmp_path)
    assert images.class_names == ["\ufffd[2Jcat\ufffdtac\ufffd", "bad\ufffd"]
    "".join(images.class_names).encode()


def test_huge_class_name_is_cut_for_display(tmp_path: Path) -> None:
    write(tmp_path / ("n" * 250) / "a.png")
    name = CleanImages.from_path(tmp_path).class_names[0]
    assert len(name) <= 81 and "…" in name


def test_nothing_deeper_than_class_folders_is_read_and_the_rest_is_counted(tmp_path: Path) -> None:
    write(tmp_path / "0" / "a.png")
    write(tmp_path / "0" / "deeper" / "b.png")
    write(tmp_path / "0" / ".hidden.png")
    write(tmp_path / ".thumbs" / "c.png")
    write(tmp_path / "stray.png")
    write(tmp_path / "0" / "scan.tif")
    images = CleanImages.from_path(tmp_path)
    assert len(images) == 1
    notice = next(n for n in images.notices if n.startswith("Not read"))
    for part in ("2 x hidden entry", "1 x folder inside a class folder", "1 x image beside", "(.tif)"):
        assert part in notice


# --- labels.csv and flat folders -----------------------------------------------------------


def table(root: Path, text: str | bytes, names: tuple[str, ...] = ("a.png", "b.png")) -> Path:
    for name in names:
        write(root / name)
    (root / "labels.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return root


def test_labels_csv_gives_indices_through_bom_quotes_and_crlf(tmp_path: Path) -> None:
    table(tmp_path, '\ufefflabel, File_Name ,note\r\n"3","b.png","x, y"\r\n\r\n0,a.png,\r\n')
    images = CleanImages.from_path(tmp_path)
    assert images.labels is not None and images.labels.tolist() == [0, 3]
    assert images.sources == ["a.png", "b.png"]
    assert images.notices == []


def test_labels_csv_takes_names_from_the_class_list(tmp_path: Path) -> None:
    table(tmp_path, "file_name,label\na.png,dog\nb.png,cat\n")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    images = CleanImages.from_path(tmp_path)
    assert images.labels is not None and images.labels.tolist() == [0, 1]
    assert images.sources == ["b.png", "a.png"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("file_name,label\n../a.png,0\n", ("line 2", "is a path")),
        ("file_name,label\n/etc/passwd,0\n", ("line 2", "is a path")),
        ("file_name,label\n..\\a.png,0\n", ("line 2", "is a path")),
        ("file_name,label\na.png,0\nc.png,1\n", ("line 3", "no image 'c.png'")),
        ("file_name,label\na.png,0\na.png,1\n", ("line 3", "listed twice")),
        ("file_name,label\na.png\n", ("line 2", "1 columns")),
        ("file_name,label\na.png,\n", ("line 2", "label is empty")),
        ("file_name;label\na.png;0\n", ("line 1", "file_name", "comma-separated")),
        ("a.png,0\n", ("line 1", "file_name")),
        ("", ("line 1", "file_name")),
        ('file_name,label\n"a.png,0\n', ("labels.csv, line 2",)),
        ("file_name,label\na.png,0\nb.png,cat\n", ("mix numbers (0) and names (cat)",)),
        (b"file_name,label\na.png,\xff\n", ("UTF-8",)),
        ("file_name,label\na.png," + "x" * 200_000, ("line", "field")),
        ("file_name,label\n\x1b[31m.png,0\n", ("line 2", "no image '\ufffd[31m.png'")),
    ],
)
def test_malformed_labels_csv_is_refused_naming_the_line(
    tmp_path: Path, text: str | bytes, parts: tuple[str, ...]
) -> None:
    error = refused(table(tmp_path, text), "labels.csv", *parts)
    assert "\x1b" not in str(error)


def test_image_without_a_line_is_left_out_and_counted(tmp_path: Path) -> None:
    images = CleanImages.from_path(table(tmp_path, "file_name,label\na.png,0\n"))
    assert len(images) == 1
    assert said(images, "1 x image without a line in labels.csv")


def test_flat_folder_without_labels_is_read_and_said_loudly(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    images = CleanImages.from_path(tmp_path)
    assert images.labels is None and len(images) == 1
    assert said(images, "no labels")
    assert not images.summary().labelled


def test_empty_folder_is_an_empty_set_with_a_notice(tmp_path: Path) -> None:
    (tmp_path / "val" / "cat").mkdir(parents=True)
    images = CleanImages.from_path(tmp_path)
    assert len(images) == 0 and said(images, "No image was found")
    batch, notices = images.to_input((3, 32, 32))
    assert batch.shape == (0, 3, 32, 32) and notices == []
    assert images.summary().count == 0
    images.validate(10)


# --- paths ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["absent", "x" * 5000, "nul\0"])
def test_path_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    refused(tmp_path / name)


def test_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images.tar").write_bytes(b"x")
    refused(tmp_path / "images.tar", "neither a folder nor an .npz")


def test_symlink_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside.png")
    write(tmp_path / "in" / "0" / "a.png")
    (tmp_path / "in" / "0" / "b.png").symlink_to(outside)
    refused(tmp_path / "in", "b.png", "symbolic link that leaves")


def test_class_folder_linked_from_outside_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0").symlink_to(tmp_path / "elsewhere")
    refused(tmp_path / "in", "symbolic link that leaves")


def test_symlink_loop_and_pipe_do_not_hang(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert said(CleanImages.from_path(tmp_path), "not a regular file")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    refused(tmp_path, "loop.png")


def test_symlink_within_the_folder_is_followed(tmp_path: Path) -> None:
    write(tmp_path / "0" / "a.png")
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "b.png").symlink_to(tmp_path / "0" / "a.png")
    assert len(CleanImages.from_path(tmp_path)) == 2


def test_limits_on_number_and_size_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.png")
    monkeypatch.setattr(folders, "MAX_IMAGES", 2)
    refused(tmp_path, "3 images; at most 2")
    monkeypatch.setattr(folders, "MAX_IMAGES", 3)
    monkeypatch.setattr(folders, "MAX_BYTES", 900)
    refused(tmp_path, "at most 900")
    monkeypatch.setattr(folders, "MAX_ENTRIES", 2)
    refused(tmp_path, "more than 2 entries")
    monkeypatch.setattr(decoding, "MAX_FILE_BYTES", 10)
    monkeypatch.setattr(folders, "MAX_ENTRIES", 3)
    monkeypatch.setattr(folders, "MAX_BYTES", 10**6)
    refused(tmp_path, "a.png is larger")


# --- image files ---------------------------------------------------------------------------


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


# --- .npz ----------------------------------------------------------------------------------


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


# --- ranges, shapes, labels ----------------------------------------------------------------

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


# --- what the network takes ----------------------------------------------------------------


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
