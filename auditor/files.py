"""Writing files so that a kill leaves the old or the new one, and opening only plain files.

Folders may come from strangers: a link, pipe or second hard link in the place of a file is
refused rather than followed, so that nothing outside is written and no read waits forever.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO

from auditor.errors import InputError, OutputError, printable

TEMPORARY_PREFIX, TEMPORARY_SUFFIX = ".auditor-", ".tmp"
_CHUNK = 2**20


def is_temporary(name: str) -> bool:
    """Whether a file name is one that `replacing` leaves behind when it is killed."""
    return name.startswith(TEMPORARY_PREFIX) and name.endswith(TEMPORARY_SUFFIX)


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """A binary file that takes the place of `path` when the block ends, and vanishes when it raises.

    A link at `path` is replaced, not followed. `durable` also survives a power cut. The
    stream's `name` is the path of the temporary file. Raises OutputError.
    """
    temporary = path.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        temporary.replace(path)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace the content of `path` in one step. Raises OutputError."""
    with replacing(path, durable=durable) as stream:
        stream.write(content)


def cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{printable(path)} cannot be written: {error.strerror or type(error).__name__}.",
        "Check the path, its permissions and the free space, or write elsewhere.",
    )


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, where the system can: some file systems cannot sync a folder."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def open_plain(path: Path, flags: int) -> int:
    """A descriptor of a regular file, opened without following a link or waiting on a pipe.

    To write, it must also have no second name: that could be a file outside the folder.
    Raises OSError (ELOOP on a link) or InputError.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    found = os.fstat(descriptor)
    writes = flags & (os.O_WRONLY | os.O_RDWR)
    if not stat.S_ISREG(found.st_mode) or (writes and found.st_nlink > 1):
        os.close(descriptor)
        raise InputError(f"{printable(path)} is not a plain file.", "Remove it, or use another folder.")
    return descriptor


def read_plain(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes. Raises OSError or InputError."""
    with os.fdopen(open_plain(path, os.O_RDONLY), "rb") as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise InputError(f"{printable(path)} is larger than {limit:,} bytes.", "It is not a file of this tool.")
    return content


def sha256_of(path: Path) -> str:
    """The hex digest of a regular file. Raises OSError or InputError."""
    digest = hashlib.sha256()
    with os.fdopen(open_plain(path, os.O_RDONLY), "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def inside(folder: Path, relative: str) -> Path:
    """The path of `relative` (with forward slashes) in `folder`, no part of it leading out.

    The last part may be a link; the folders before it must not leave `folder`. Raises
    InputError.
    """
    name = PurePosixPath(relative)
    if not name.parts or name.is_absolute() or ".." in name.parts or "\N{NULL}" in relative:
        raise InputError(f"{printable(relative)!r} is not a path inside the run folder.", "Use a relative path.")
    path = folder.joinpath(*name.parts)
    try:
        is_inside = path.parent.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:
        raise InputError(f"{printable(relative)!r} cannot be resolved.", "Check the run folder for links.") from error
    if not is_inside:
        raise InputError(f"{printable(relative)!r} leads out of the run folder.", "Remove the links inside it.")
    return path
