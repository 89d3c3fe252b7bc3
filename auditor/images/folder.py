"""Reads a folder of images: one folder a class, or flat with or without `labels.csv`.

Nothing deeper than class folders is read, and no symbolic link is followed out of the folder.
"""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from auditor.errors import InputError, printable
from auditor.images.arrays import MAX_BYTES, MAX_IMAGES, Pixels, check_sides
from auditor.images.decode import REMARKS, SUFFIXES, decode
from auditor.images.labels import NO_LABELS, ClassIndex, class_index, read_class_list, read_label_table

MAX_ENTRIES = 100_000
_FEWER = "Give a smaller folder: a few hundred images suffice."


@dataclass(frozen=True)
class FolderImages:
    """What a folder held, in order of class and then file name; `labels` is None without labels."""

    images: list[Pixels]
    labels: list[int] | None
    class_names: list[str]
    sources: list[str]
    notices: list[str]


@dataclass
class _Listing:
    """The images and folders in one folder, and a tally of what was passed over."""

    files: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def read_folder(root: Path, classes: Path | None) -> FolderImages:
    """Read all images of a folder in whichever form it has.

    `classes` lists class names in index order; without it a `classes.txt` in the folder does.
    Raises InputError naming the file or line that is malformed or over a limit.
    """
    top = _listed(root, root)
    list_path = classes or (root / "classes.txt" if (root / "classes.txt").is_file() else None)
    if list_path is not None and classes is None:
        _check_inside(list_path, root)
    names = read_class_list(list_path) if list_path else None
    if (root / "labels.csv").is_file():
        top.skipped["folder"] += len(top.folders)
        return _read_table(root, top, names)
    inner = {folder: _listed(folder, root) for folder in top.folders}
    if any(listing.files for listing in inner.values()):
        return _read_class_folders(root, top, inner, names)
    top.skipped["folder"] += sum(1 + len(listing.folders) for listing in inner.values())
    unlabelled = [(path, None) for path in top.files]
    return _decoded(root, unlabelled, ClassIndex({}, names or [], "none"), top.skipped)


def _read_class_folders(
    root: Path, top: _Listing, inner: dict[Path, _Listing], names: list[str] | None
) -> FolderImages:
    skipped = sum((listing.skipped for listing in inner.values()), top.skipped)
    skipped["image beside the class folders"] += len(top.files)
    skipped["folder inside a class folder"] += sum(len(listing.folders) for listing in inner.values())
    by_name = {unicodedata.normalize("NFC", folder.name): folder for folder in inner}
    index = class_index(by_name, names, printable(root))
    owner: dict[int, str] = {}
    for name in sorted(by_name):
        first = owner.setdefault(index.of[name], name)
        if first != name:
            raise InputError(
                f"{printable(root)}: folders {first!r} and {name!r} are the same class.", "Merge them into one folder."
            )
    found = [(path, index.of[name]) for name in by_name for path in inner[by_name[name]].files]
    return _decoded(root, found, index, skipped)


def _read_table(root: Path, top: _Listing, names: list[str] | None) -> FolderImages:
    _check_inside(root / "labels.csv", root)
    text_of = read_label_table(root / "labels.csv", {path.name for path in top.files})
    top.skipped["image without a line in labels.csv"] += sum(path.name not in text_of for path in top.files)
    index = class_index(set(text_of.values()), names, printable(root / "labels.csv"))
    found = [(path, index.of[text_of[path.name]]) for path in top.files if path.name in text_of]
    return _decoded(root, found, index, top.skipped)


def _decoded(
    root: Path, found: Iterable[tuple[Path, int | None]], index: ClassIndex, skipped: Counter[str]
) -> FolderImages:
    ordered = sorted(found, key=lambda item: (-1 if item[1] is None else item[1], str(item[0])))
    _check_amount(root, [path for path, _ in ordered])
    images, remarks, total = [], Counter[str](), 0
    for path, _ in ordered:
        pixels, image_remarks = decode(path, printable(path))
        check_sides(pixels.shape[:2], printable(path))
        total += pixels.nbytes
        if total > MAX_BYTES:
            raise InputError(f"{printable(root)} decodes to more than {MAX_BYTES:,} bytes of pixels.", _FEWER)
        images.append(pixels)
        remarks.update(image_remarks)
    return FolderImages(
        images=_same_channels(images),
        labels=None if index.order == "none" else [label for _, label in ordered if label is not None],
        class_names=index.names,
        sources=[path.relative_to(root).as_posix() for path, _ in ordered],
        notices=_label_notices(index, len(images)) + _remark_notices(remarks) + _skipped_notice(root, skipped),
    )


def _check_amount(root: Path, files: list[Path]) -> None:
    if len(files) > MAX_IMAGES:
        raise InputError(f"{printable(root)} holds {len(files):,} images; at most {MAX_IMAGES:,} are read.", _FEWER)
    size = sum(path.stat().st_size for path in files)
    if size > MAX_BYTES:
        raise InputError(f"{printable(root)} holds {size:,} bytes of images; at most {MAX_BYTES:,} are read.", _FEWER)


def _same_channels(images: list[Pixels]) -> list[Pixels]:
    """Grey images become colour where a folder holds both."""
    channels = max((pixels.shape[2] for pixels in images), default=3)
    return [pixels if pixels.shape[2] == channels else np.repeat(pixels, channels, axis=2) for pixels in images]


def _listed(folder: Path, root: Path) -> _Listing:
    """What lies in a folder, sorted by name. Raises InputError at a link that leaves `root`."""
    listing = _Listing()
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in itertools.islice(entries, MAX_ENTRIES + 1))
    except OSError as error:
        raise InputError(f"{printable(folder)} cannot be read: {error.strerror}.", "Check its permissions.") from error
    if len(names) > MAX_ENTRIES:
        raise InputError(f"{printable(folder)} holds more than {MAX_ENTRIES:,} entries.", _FEWER)
    for name in names:
        _sort_in(listing, folder / name, root)
    return listing


def _sort_in(listing: _Listing, path: Path, root: Path) -> None:
    if path.name.startswith(".") or path.name == "__MACOSX":
        listing.skipped["hidden entry"] += 1
        return
    if path.is_symlink():
        _check_inside(path, root)
    if path.is_dir():
        listing.folders.append(path)
    elif path.is_file() and path.suffix.lower() in SUFFIXES:
        listing.files.append(path)
    elif path.name not in ("classes.txt", "labels.csv"):
        kind = printable(path.suffix.lower(), 12) if path.is_file() else "not a regular file"
        listing.skipped[f"file of another kind ({kind or 'no suffix'})"] += 1


def _check_inside(path: Path, root: Path) -> None:
    try:
        is_inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # RuntimeError: a loop of links, before Python 3.13.
        is_inside = False
    if not is_inside:
        raise InputError(
            f"{printable(path)} is a symbolic link that leaves the folder.", "Copy what it names into the folder."
        )


def _label_notices(index: ClassIndex, count: int) -> list[str]:
    if index.order == "none" and count:
        return [NO_LABELS]
    if index.order != "sorted":
        return []
    return [
        f"Class indices follow the sorted order of {len(index.names)} names; "
        "give --classes FILE if the model's order is another."
    ]


def _remark_notices(remarks: Counter[str]) -> list[str]:
    return [f"{remarks[kind]} image(s) {text}." for kind, text in REMARKS.items() if remarks[kind]]


def _skipped_notice(root: Path, skipped: Counter[str]) -> list[str]:
    parts = [f"{count} x {what}" for what, count in sorted(skipped.items()) if count]
    return [f"Not read in {printable(root)}: {', '.join(parts)}."] if parts else []
