"""Class folders: names, numbers and the list that gives the indices."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from image_sets import pixels, refused, said, write

from auditor.errors import InputError
from auditor.images import CleanImages


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
