"""Reads .npz files from strangers: plain arrays only, and no larger than the caller allows.

numpy's own reader allocates what an array's header claims before it looks at the data, so
every header is checked against the size of its zip member first. Nothing is unpickled.
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from auditor.errors import InputError, printable

MAX_MEMBERS = 64
MAX_AXES = 8
MAX_SIDE = 2**40
_WRITE_ANEW = "Write it anew with numpy.savez."
_BROKEN_ZIP = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, IndexError, MemoryError, OverflowError, RuntimeError, ValueError,
)  # fmt: skip
_PLAIN_KINDS = "biufUS"
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class _Refused(Exception):
    """Why an .npz file is not read."""


def read_arrays(path: Path, *, max_bytes: int, wanted: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file by name; only those in `wanted`, when that is given.

    Raises InputError when the file is not one, holds Python objects, is broken, or unpacks to
    more than `max_bytes`.
    """
    try:
        if not path.is_file():
            raise InputError(f"{printable(path)} is not a file.", "Give the path of an .npz file.")
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, max_bytes)
            names = [name for name in members if wanted is None or name in wanted]
            return {name: _read(archive, members[name]) for name in names}
    except _Refused as reason:
        raise InputError(f"{printable(path)} cannot be read: {reason}", _WRITE_ANEW) from reason
    except _BROKEN_ZIP as error:
        raise InputError(f"{printable(path)} is not a readable .npz file: {printable(error)}", _WRITE_ANEW) from error
    except OSError as error:
        raise InputError(f"{printable(path)} cannot be read: {error.strerror}.", "Check the path.") from error


def _members(archive: zipfile.ZipFile, max_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """The archive's arrays by name, after every limit that needs no unpacking."""
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise _Refused(f"it holds {len(infos):,} arrays, and at most {MAX_MEMBERS} are read.")
    total = sum(info.file_size for info in infos)
    if total > max_bytes:
        raise _Refused(f"it unpacks to {total:,} bytes, and at most {max_bytes:,} are read.")
    if any(info.flag_bits & 1 or info.compress_type not in _COMPRESSIONS for info in infos):
        raise _Refused("it is encrypted or compressed in a way numpy does not write.")
    members = {info.filename.removesuffix(".npy"): info for info in infos}
    if len(members) != len(infos):
        raise _Refused("two of its arrays have the same name.")
    return members


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    name = printable(info.filename)
    with archive.open(info) as stream:
        shape, fortran_order, dtype = _header(stream, name)
        count = math.prod(shape)
        if stream.tell() + count * dtype.itemsize != info.file_size:
            raise _Refused(f"{name} claims shape {shape}, which is not how much data it holds.")
        data = bytearray(stream.read())
    if len(data) != count * dtype.itemsize:
        raise _Refused(f"{name} ends early.")
    return np.frombuffer(data, dtype=dtype, count=count).reshape(shape, order="F" if fortran_order else "C")


def _header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        shape, fortran_order, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
    except (zipfile.BadZipFile, zlib.error):
        raise
    except Exception as error:  # numpy's parser raises nearly any type on a broken header.
        raise _Refused(f"{name} does not begin like an array.") from error
    if dtype.hasobject:
        raise _Refused(f"{name} holds Python objects, which are never unpickled.")
    if dtype.kind not in _PLAIN_KINDS or dtype.itemsize == 0:
        raise _Refused(f"{name} has the type {printable(str(dtype))}, which is not a plain number or text.")
    if len(shape) > MAX_AXES or not all(0 <= side <= MAX_SIDE for side in shape):
        raise _Refused(f"{name} claims a shape that no array here has.")
    return shape, fortran_order, dtype
