"""labels.csv, flat folders and empty ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_sets import refused, said, write

from auditor.images import CleanImages


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
