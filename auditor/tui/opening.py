"""Looks at paths before an audit: what the file is, how many images there are. Opens no checkpoint."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from auditor.checkpoint.sniff import check_opened, open_regular, sniff
from auditor.errors import AuditorError, printable
from auditor.request import Profile

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})
MOST_COUNTED = 5000
_CHUNK = 4 << 20
PROFILES: tuple[Profile, ...] = ("quick", "standard", "deep")
USUAL_TIMES = {"quick": "under a minute", "standard": "about a minute", "deep": "many minutes"}


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """`problem` and `next_step` are empty when the file can be given to an audit."""

    path: str
    format: str = ""
    bytes: int = 0
    sha256: str = ""
    problem: str = ""
    next_step: str = ""


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """`images` counts the files that look like images, up to `MOST_COUNTED`; 0 for an .npz."""

    path: str
    images: int = 0
    folders: int = 0
    problem: str = ""
    next_step: str = ""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A checkpoint and clean images to try the tool on."""

    model: str
    clean: str


def find_sample() -> Sample | None:
    """The sample in `samples/` here, or in the source checkout; None where there is none."""
    for root in (Path("samples"), Path(__file__).resolve().parents[2] / "samples"):
        if (root / "suspect.pt").is_file() and (root / "clean").is_dir():
            return Sample(model=str(root / "suspect.pt"), clean=str(root / "clean"))
    return None


def look_at_model(path: str, is_cancelled: Callable[[], bool]) -> FileFacts | None:
    """The format, size and sha256 of a file; None when cancelled half way."""
    try:
        kind = sniff(Path(path))
        check_opened(kind, Path(path))
        digest, size = hashlib.sha256(), 0
        with open_regular(Path(path)) as stream:
            while chunk := stream.read(_CHUNK):
                if is_cancelled():
                    return None
                digest.update(chunk)
                size += len(chunk)
    except AuditorError as error:
        return FileFacts(path=path, problem=error.what, next_step=error.next_step)
    except (OSError, ValueError) as error:
        return FileFacts(path=path, problem=f"{printable(path)} cannot be read: {printable(error)}",
                         next_step="Check the path and its permissions.")  # fmt: skip
    return FileFacts(path=path, format=kind, bytes=size, sha256=digest.hexdigest())


def look_at_images(path: str, is_cancelled: Callable[[], bool]) -> ImageFacts | None:
    """How many images lie in a folder and the folders in it; None when cancelled half way."""
    try:
        place = Path(path)
        if place.is_file():
            if place.suffix.lower() == ".npz":
                return ImageFacts(path=path)
            return ImageFacts(path=path, problem=f"{printable(path)} is a file, not a folder of images.",
                              next_step="Give a folder of images, or an .npz file.")  # fmt: skip
        if not place.is_dir():
            return ImageFacts(path=path, problem=f"There is no folder {printable(path)}.", next_step="Check the path.")
        images, folders = _count(place, is_cancelled)
    except (OSError, ValueError) as error:
        return ImageFacts(path=path, problem=f"{printable(path)} cannot be read: {printable(error)}",
                          next_step="Check the path and its permissions.")  # fmt: skip
    if is_cancelled():
        return None
    if images == 0:
        return ImageFacts(path=path, problem=f"{printable(path)} holds no images.",
                          next_step="Give a folder of PNG or JPEG images, one a class, or an .npz file.")  # fmt: skip
    return ImageFacts(path=path, images=images, folders=folders)


def _count(place: Path, is_cancelled: Callable[[], bool]) -> tuple[int, int]:
    images, with_images = 0, 0
    folders = [place, *(entry for entry in _entries(place) if entry.is_dir() and not entry.is_symlink())]
    for folder in folders:
        if images >= MOST_COUNTED or is_cancelled():
            break
        found = sum(entry.suffix.lower() in IMAGE_SUFFIXES for entry in _entries(folder))
        images += found
        with_images += bool(found)
    return min(images, MOST_COUNTED), with_images


def _entries(folder: Path) -> list[Path]:
    with os.scandir(folder) as found:
        return [Path(entry.path) for _, entry in zip(range(MOST_COUNTED), found, strict=False)]


def default_output(model: str) -> str:
    """The run folder offered for a checkpoint: `runs/<stem>`."""
    return str(Path("runs") / (Path(model).stem or "run"))


def output_problem(output: str) -> str:
    """Why the run folder cannot be written to, or an empty string."""
    if not output:
        return "Name a run folder."
    try:
        place = Path(output).absolute()
        if place.exists() and not place.is_dir():
            return f"{printable(output)} is a file: name a folder."
        parent = next(folder for folder in (place, *place.parents) if folder.exists())
    except (OSError, ValueError) as error:
        return f"{printable(output)} cannot be used: {printable(error)}"
    return "" if os.access(parent, os.W_OK) else f"{printable(parent)} is not writable: name another folder."


def holds_a_run(output: str) -> bool:
    """Whether the folder is there already and not empty."""
    try:
        with os.scandir(output) as entries:
            return next(entries, None) is not None
    except (OSError, ValueError):
        return False
