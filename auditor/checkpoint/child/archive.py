"""A strict walk of a zip archive as torch.save writes it, and its canonical repack.

Zip readers disagree about duplicates, letter case, appended bytes and which of a member's
two headers counts. Here the members must tile the file exactly and be described the same
way everywhere; what passes is written afresh, and only that copy is read afterwards.
"""

from __future__ import annotations

import re
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .refusal import broken, unsafe

MAX_MEMBERS = 200_000
MAX_DIRECTORY_BYTES = 64 << 20
CHUNK_BYTES = 1 << 20
EXPECTED = re.compile(
    r"data\.pkl|byteorder|version|\.format_version|\.storage_alignment|\.data/serialization_id|data/[0-9]{1,12}"
)

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_MAX32 = 0xFFFFFFFF
# Bit 3: sizes follow the data (torch writes that); bit 11: the name is UTF-8.
_FLAGS = frozenset({0, 0x0008, 0x0800, 0x0808})


@dataclass(frozen=True, slots=True)
class Member:
    """A stored member: `name` below the archive's root, and where its bytes lie in the file."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class _Entry:
    path: str
    raw_name: bytes
    flags: int
    crc: int
    size: int
    header: int


def walk(stream: IO[bytes], file_bytes: int) -> list[Member]:
    """The members of a torch archive in file order, every header and checksum verified.

    Raises Refusal: unsafe for what two readers would see differently, broken for damage.
    """
    start, size, count = _directory(stream, file_bytes)
    entries = sorted(_entries(stream, start, size, count), key=lambda entry: entry.header)
    root = _common_root(entries)
    members, position = [], 0
    for index, entry in enumerate(entries):
        if entry.header != position:
            raise unsafe(f"The archive has bytes outside its members, before {_shown(entry.path)}.")
        data = _data_offset(stream, entry)
        following = entries[index + 1].header if index + 1 < len(entries) else start
        _check_crc(stream, data, entry)
        position = data + entry.size + _descriptor_bytes(stream, data + entry.size, following, entry)
        members.append(Member(entry.path[len(root) + 1 :], data, entry.size))
    if position != start:
        raise unsafe("The archive has bytes between its last member and its directory.")
    _check_names(members)
    return members


def repack(stream: IO[bytes], members: list[Member], target: Path) -> None:
    """Write the members to a fresh archive of stored members under the root `archive`."""
    with zipfile.ZipFile(target, "x", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for member in members:
            stream.seek(member.offset)
            info = zipfile.ZipInfo(f"archive/{member.name}")
            with archive.open(info, "w", force_zip64=member.size > zipfile.ZIP64_LIMIT // 2) as out:
                for chunk in _chunks(stream, member.size):
                    out.write(chunk)


def _directory(stream: IO[bytes], file_bytes: int) -> tuple[int, int, int]:
    """Offset, bytes and entry count of the central directory, which ends the file."""
    tail_bytes = min(file_bytes, 65_557 + _LOCATOR64.size + _END64.size)
    tail = _read(stream, file_bytes - tail_bytes, tail_bytes)
    end = tail[-_END.size :]
    if len(end) < _END.size or not end.startswith(b"PK\x05\x06"):
        if b"PK\x05\x06" in tail[: 1 - _END.size]:
            raise unsafe("The archive has bytes appended after its end.")
        raise broken("The archive breaks off before its directory: the file is truncated.")
    _, disk, first_disk, here, count, size, start, comment = _END.unpack(end)
    if disk or first_disk or here != count or comment:
        raise unsafe("The archive's end record is not one that torch.save writes.")
    finish = file_bytes - _END.size
    locator = tail[-_END.size - _LOCATOR64.size : -_END.size]
    if locator.startswith(b"PK\x06\x07"):
        finish, wide = finish - _LOCATOR64.size - _END64.size, _LOCATOR64.unpack(locator)
        if wide[1] or wide[2] != finish or wide[3] != 1:
            raise unsafe("The archive's zip64 locator points elsewhere.")
        record = _END64.unpack(_read(stream, finish, _END64.size))
        if record[0] != b"PK\x06\x06" or record[1] != _END64.size - 12 or record[4] or record[5]:
            raise unsafe("The archive's zip64 end record is not one that torch.save writes.")
        if record[6] != record[7]:
            raise unsafe("The archive's zip64 end record contradicts itself.")
        for narrow, value, limit in ((count, record[7], 0xFFFF), (size, record[8], _MAX32), (start, record[9], _MAX32)):
            if narrow not in (value, limit):
                raise unsafe("The archive's two end records contradict each other.")
        count, size, start = record[7:10]
    if start + size != finish:
        raise unsafe("The archive has bytes before its first member or around its directory.")
    if not 0 < count <= MAX_MEMBERS or size > MAX_DIRECTORY_BYTES:
        raise broken(f"The archive lists {count:,} members in a directory of {size:,} bytes.")
    return start, size, count


def _entries(stream: IO[bytes], start: int, size: int, count: int) -> list[_Entry]:
    directory, position, entries = _read(stream, start, size), 0, []
    for _ in range(count):
        if position + _CENTRAL.size > size:
            raise broken("The archive's directory breaks off.")
        fields = _CENTRAL.unpack_from(directory, position)
        name_bytes, extra_bytes, comment_bytes = fields[10:13]
        body = position + _CENTRAL.size
        position = body + name_bytes + extra_bytes + comment_bytes
        if fields[0] != b"PK\x01\x02" or position > size:
            raise broken("The archive's directory is damaged.")
        raw = directory[body : body + name_bytes]
        entries.append(_entry(fields, raw, directory[body + name_bytes : body + name_bytes + extra_bytes]))
    if position != size:
        raise unsafe("The archive's directory holds more than its entries.")
    return entries


def _entry(fields: tuple[int, ...], raw: bytes, extra: bytes) -> _Entry:
    flags, method, crc, packed, size = fields[3], fields[4], fields[7], fields[8], fields[9]
    path, header = _decode(raw), fields[16]
    if flags not in _FLAGS:
        raise unsafe(f"The archive's member {_shown(path)} is encrypted or has unusual flags ({flags:#06x}).")
    if method != 0:
        raise unsafe(
            f"The archive's member {_shown(path)} is compressed, which torch.save never does.",
            "If you compressed it yourself, unpack it and store it uncompressed.",
        )
    if fields[12] or fields[13]:
        raise unsafe(f"The archive's member {_shown(path)} carries a comment or lies on another disk.")
    size, packed, header = _wide((size, packed, header), extra)
    if size != packed:
        raise unsafe(f"The archive states two sizes for {_shown(path)}.")
    return _Entry(path, raw, flags, crc, size, header)


def _wide(values: tuple[int, int, int], extra: bytes) -> tuple[int, int, int]:
    """Sizes and offset with those that did not fit 32 bits taken from the zip64 field."""
    if _MAX32 not in values:
        return values
    position = 0
    while position + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, position)
        if tag == 1:
            wide = iter(struct.unpack_from(f"<{length // 8}Q", extra, position + 4))
            size, packed, header = (next(wide, -1) if value == _MAX32 else value for value in values)
            if min(size, packed, header) >= 0:
                return size, packed, header
        position += 4 + length
    raise broken("The archive lacks a zip64 field that it needs.")


def _decode(raw: bytes) -> str:
    try:
        path = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise unsafe("The archive has a member whose name is not UTF-8.") from error
    parts = path.split("/")
    strange = any(unicodedata.category(letter).startswith("C") for letter in path) or "\\" in path or ":" in path
    if strange or len(path) > 512 or any(part in ("", ".", "..") for part in parts):
        raise unsafe(f"The archive has a member with an unsafe path: {_shown(path)}.")
    return path


def _common_root(entries: list[_Entry]) -> str:
    roots = sorted({entry.path.partition("/")[0] for entry in entries})
    if len(roots) != 1 or any("/" not in entry.path for entry in entries):
        raise unsafe(f"The archive has more than one root folder: {', '.join(map(_shown, roots[:4]))}.")
    return roots[0]


def _data_offset(stream: IO[bytes], entry: _Entry) -> int:
    """Where the member's bytes begin. The local header must say what the directory says."""
    raw = _read(stream, entry.header, _LOCAL.size)
    _, _, flags, method, _, _, crc, packed, size, name_bytes, extra_bytes = _LOCAL.unpack(raw)
    name = _read(stream, entry.header + _LOCAL.size, name_bytes)
    agrees = raw.startswith(b"PK\x03\x04") and (flags, method, name) == (entry.flags, 0, entry.raw_name)
    deferred = bool(flags & 8) and (crc, packed, size) == (0, 0, 0)
    stated = crc == entry.crc and all(value in (entry.size, _MAX32) for value in (packed, size))
    if not agrees or not (deferred or stated):
        raise unsafe(f"The archive describes {_shown(entry.path)} in two ways that differ.")
    header_bytes: int = _LOCAL.size + name_bytes + extra_bytes
    return entry.header + header_bytes


def _descriptor_bytes(stream: IO[bytes], position: int, following: int, entry: _Entry) -> int:
    """Bytes of the data descriptor after a member, which must repeat the directory's values."""
    if not entry.flags & 8:
        return 0
    form = {12: "<LLL", 16: "<4sLLL", 20: "<LQQ", 24: "<4sLQQ"}.get(following - position)
    if form is None:
        raise unsafe(f"The archive has bytes outside its members, after {_shown(entry.path)}.")
    values = struct.unpack(form, _read(stream, position, following - position))
    signed = form.startswith("<4s")
    if values[-3:] != (entry.crc, entry.size, entry.size) or (signed and values[0] != b"PK\x07\x08"):
        raise unsafe(f"The archive describes {_shown(entry.path)} in two ways that differ.")
    return following - position


def _check_crc(stream: IO[bytes], offset: int, entry: _Entry) -> None:
    stream.seek(offset)
    crc = 0
    for chunk in _chunks(stream, entry.size):
        crc = zlib.crc32(chunk, crc)
    if crc != entry.crc:
        raise broken(f"The archive's member {_shown(entry.path)} is damaged: its checksum does not match.")


def _check_names(members: list[Member]) -> None:
    seen: set[str] = set()
    for member in members:
        if member.name.casefold() in seen:
            raise unsafe(f"The archive has two members called {_shown(member.name)}.")
        seen.add(member.name.casefold())
        if not EXPECTED.fullmatch(member.name):
            raise unsafe(f"The archive has a member that torch.save does not write: {_shown(member.name)}.")
    if "data.pkl" not in seen:
        raise broken("The archive has no data.pkl: it is not a torch checkpoint.")


def _chunks(stream: IO[bytes], size: int) -> Iterator[bytes]:
    """The next `size` bytes of a stream in pieces. Raises Refusal when the file ends before."""
    while size:
        chunk = stream.read(min(CHUNK_BYTES, size))
        if not chunk:
            raise broken("The archive has a member that runs past the end of the file.")
        size -= len(chunk)
        yield chunk


def _read(stream: IO[bytes], offset: int, size: int) -> bytes:
    stream.seek(offset)
    data = stream.read(size)
    if len(data) != size:
        raise broken("The archive refers to bytes past the end of the file.")
    return data


def _shown(text: str) -> str:
    return ascii(text[:80])
