"""Which class index a name means: numbers, a list of class names, or sorted order.

Read from folder names, `labels.csv` and `classes.txt`, all of them written by strangers.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from auditor.errors import InputError, printable

Order = Literal["numbers", "listed", "sorted", "none"]

MAX_TEXT_BYTES = 8 * 1024**2
MAX_CLASSES = 100_000
_NUMBER = re.compile(r"[0-9]{1,6}")
NO_LABELS = (
    "The images have no labels: the model's own predictions stand in for them, so its accuracy cannot be "
    "judged. Labels make the audit stronger: labels.csv (file_name,label), one folder a class, or y in the .npz."
)
_SAVE_AS = "Save it as comma-separated UTF-8 text with the header file_name,label."


@dataclass(frozen=True)
class ClassIndex:
    """The class index of each name met. `names` runs over classes, empty when they have none."""

    of: dict[str, int]
    names: list[str]
    order: Order


def class_index(met: Collection[str], listed: list[str] | None, where: str) -> ClassIndex:
    """Resolve the class names that were met.

    Numbers are the index itself. Other names are looked up in `listed`, or without a list get
    their index in sorted order. Raises InputError where that would be a guess.
    """
    numbers = {name for name in met if _NUMBER.fullmatch(name)}
    if len(numbers) == len(met):
        of = {name: int(name) for name in met}
        if listed is not None:
            _check_numbers_against_list(of, listed, where)
        return ClassIndex(of, listed or [], "numbers")
    if listed is not None:
        position = {name: index for index, name in enumerate(listed)}
        unknown = sorted(set(met) - set(position))
        if unknown:
            raise InputError(
                f"{where}: class {printable(unknown[0])!r} is not in the list of {len(listed)} classes.",
                "Make the names the same as in the list, one a line in index order.",
            )
        return ClassIndex({name: position[name] for name in met}, listed, "listed")
    if numbers:
        other = min(set(met) - numbers)
        raise InputError(
            f"{where}: classes mix numbers ({min(numbers)}) and names ({printable(other)}).",
            "Use one kind, or give all names in index order with --classes FILE.",
        )
    names = sorted(met)
    return ClassIndex({name: index for index, name in enumerate(names)}, names, "sorted")


def _check_numbers_against_list(of: dict[str, int], listed: list[str], where: str) -> None:
    for name, index in sorted(of.items(), key=lambda item: item[1]):
        if index >= len(listed):
            raise InputError(
                f"{where}: class {index} is beyond the list of {len(listed)} classes.",
                "Numbers are class indices counted from 0: correct them, or complete the list.",
            )
        if name in listed and listed.index(name) != index:
            raise InputError(
                f"{where}: {name!r} is class {index} as a number, but class {listed.index(name)} in the list.",
                "Name the classes in words, or number them from 0 in the order of the list.",
            )


def read_class_list(path: Path) -> list[str]:
    """The class names in a text file, one a line in index order.

    Raises InputError naming the line of an empty or repeated name.
    """
    lines = [unicodedata.normalize("NFC", line.strip()) for line in _text(path).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if not lines or len(lines) > MAX_CLASSES:
        raise InputError(
            f"{printable(path)} lists {len(lines):,} classes.", "Write one class name a line, in index order."
        )
    first_line: dict[str, int] = {}
    for number, name in enumerate(lines, start=1):
        if not name:
            raise InputError(f"{printable(path)}, line {number}: the name is empty.", "Write one class name a line.")
        if name in first_line:
            raise InputError(
                f"{printable(path)}, line {number}: {printable(name)!r} is already on line {first_line[name]}.",
                "Give every class its own name.",
            )
        first_line[name] = number
    return lines


def read_label_table(path: Path, known_files: Collection[str]) -> dict[str, str]:
    """The label text of each image in a `labels.csv`, by file name.

    Raises InputError naming the line that is malformed, repeated, leads out of the folder, or
    names a file that is not there.
    """
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    known = {unicodedata.normalize("NFC", name): name for name in known_files}
    labels: dict[str, str] = {}
    try:
        columns = _columns(path, next(reader, []))
        for row in reader:
            if any(cell.strip() for cell in row):
                where = f"{printable(path)}, line {reader.line_num}"
                name, label = _row(where, row, columns, known)
                if name in labels:
                    raise InputError(f"{where}: {printable(name)} is listed twice.", "Keep one line an image.")
                labels[name] = label
    except csv.Error as error:
        raise InputError(f"{printable(path)}, line {reader.line_num}: {error}.", _SAVE_AS) from error
    return labels


def _columns(path: Path, header: list[str]) -> tuple[int, int]:
    names = [cell.strip().lower() for cell in header]
    missing = [name for name in ("file_name", "label") if names.count(name) != 1]
    if missing:
        raise InputError(f"{printable(path)}, line 1: there is not exactly one column {missing[0]}.", _SAVE_AS)
    return names.index("file_name"), names.index("label")


def _row(where: str, row: list[str], columns: tuple[int, int], known: dict[str, str]) -> tuple[str, str]:
    if len(row) <= max(columns):
        raise InputError(f"{where}: there are {len(row)} columns, fewer than in the header.", _SAVE_AS)
    name, label = (unicodedata.normalize("NFC", row[column].strip()) for column in columns)
    if "/" in name or "\\" in name or name in (".", ".."):
        raise InputError(
            f"{where}: {printable(name)!r} is a path.", "Name images in the same folder, without any folder names."
        )
    if name not in known:
        raise InputError(f"{where}: there is no image {printable(name)!r}.", "Correct the name, or take the line out.")
    if not label:
        raise InputError(f"{where}: the label is empty.", "Give a class index or a class name.")
    return known[name], label


def _text(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"{printable(path)} is not a file.", "Check the path.")
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise InputError(f"{printable(path)} cannot be read: {error.strerror}.", "Check its permissions.") from error
    if len(data) > MAX_TEXT_BYTES:
        raise InputError(f"{printable(path)} is larger than {MAX_TEXT_BYTES // 1024**2} MiB.", "Give a shorter list.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{printable(path)} is not UTF-8 text (byte {error.start}).", "Save it as UTF-8.") from error
