"""Builders of hostile checkpoint files, none of which does harm: a payload would only create a marker."""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

FLOATS = struct.pack("<4f", 1.0, 2.0, 3.0, 4.0)
STANDARD = (("version", b"3\n"), ("byteorder", b"little"))


def storage(key: str = "0", kind: str = "FloatStorage", size: int = 4) -> bytes:
    """Opcodes that push a storage reference."""
    return b"(" + text("storage") + b"ctorch\n" + kind.encode() + b"\n" + text(key) + text("cpu") + number(size) + b"tQ"


def tensor(
    shape: Sequence[int] = (4,), stride: Sequence[int] = (1,), offset: int = 0, stored: bytes | None = None
) -> bytes:
    """Opcodes that push a tensor built by torch._utils._rebuild_tensor_v2."""
    sizes = b"(" + b"".join(map(number, shape)) + b"t(" + b"".join(map(number, stride)) + b"t"
    hooks = b"ccollections\nOrderedDict\n)R"
    held = storage() if stored is None else stored
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + held + number(offset) + sizes + b"\x89" + hooks + b"tR"


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    raw = pickle.encode_long(value)
    return b"\x8a" + bytes([len(raw)]) + raw


def state_dict(*extra: bytes, weight: bytes | None = None) -> bytes:
    """A pickle of {"fc.weight": tensor, ...}; each extra is the opcodes of one more key and value."""
    pairs = text("fc.weight") + (tensor() if weight is None else weight) + b"".join(extra)
    return b"\x80\x02}(" + pairs + b"u."


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n(" + b"".join(arguments) + b"tR"


def archive(
    data: bytes | None = None, members: Sequence[tuple[str, bytes]] | None = None, root: str = "model/"
) -> bytes:
    """A zip as torch writes it, but for what the test changes. `members` replaces all of them."""
    if members is None:
        members = (("data.pkl", state_dict() if data is None else data), *STANDARD, ("data/0", FLOATS))
    return raw_zip([(root + name, content) for name, content in members])


def raw_zip(
    members: Sequence[tuple[str, bytes]],
    *,
    flags: int = 0,
    method: int = 0,
    local_name: Callable[[str], str] = lambda name: name,
    crc_change: int = 0,
    gap: bytes = b"",
) -> bytes:
    """A zip written by hand, so that every field can be wrong."""
    body, directory = b"", b""
    for path, content in members:
        crc = zlib.crc32(content) ^ crc_change
        packed = zlib.compress(content)[2:-4] if method == 8 else content
        fields = (20, flags, method, 0, 0, crc, len(packed), len(content))
        name, other = path.encode(), local_name(path).encode()
        header = len(body)
        body += struct.pack("<4s5H3L2H", b"PK\x03\x04", *fields, len(other), 0) + other + packed + gap
        directory += struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, *fields, len(name), 0, 0, 0, 0, 0, header) + name
    count = len(members)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(directory), len(body), 0)
    return body + directory + end


def legacy(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def saved(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


class Payload:
    """Pickles as a call of `function` with a command that would create the marker."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


def marker_command(marker: Path) -> str:
    return f"touch {marker}"
