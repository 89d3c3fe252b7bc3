"""Everything that can be told about a checkpoint without deserializing it. No torch here."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from . import archive, claims, legacy, names, pickles, tensorfile
from .nodes import Call, Map, Pickle, Seq
from .refusal import broken, unsafe
from .stubs import StubKind, stub_kinds

MAX_PICKLE_BYTES = 256 << 20
MAX_LISTED = 20_000
_MODULE_PARTS = frozenset({"_parameters", "_buffers", "_modules"})


@dataclass(slots=True)
class Static:
    """A checkpoint that passed. `listing` has each tensor's name, shape and dtype."""

    tensors: int
    members: list[archive.Member] = field(default_factory=list)
    stubs: dict[str, StubKind] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)
    listing: list[dict[str, Any]] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    opcodes: set[str] = field(default_factory=set)
    pickle_bytes: int = 0


def analyse(path: Path, file_format: str) -> Static:
    """What the file holds, by its format. Raises Refusal when it must not be opened."""
    file_bytes = path.stat().st_size
    with path.open("rb") as stream:
        if file_format == "safetensors":
            listing, metadata = tensorfile.read_header(stream, file_bytes)
            return Static(len(listing), listing=listing, metadata=metadata)
        if file_format == "pytorch_zip":
            return _archive(stream, file_bytes)
        if file_format == "pytorch_legacy":
            pickle = legacy.read_legacy(stream, file_bytes)
            return _report(pickle, file_bytes, pickle.end)
    raise broken(f"The format {file_format} is not one that is opened.")


def _archive(stream: IO[bytes], file_bytes: int) -> Static:
    members = archive.walk(stream, file_bytes)
    by_name = {member.name: member for member in members}
    data = _bytes(stream, by_name["data.pkl"], MAX_PICKLE_BYTES)
    pickle = pickles.read_pickle(io.BytesIO(data))
    if pickle.end != len(data):
        raise unsafe(f"The archive's data.pkl has {len(data) - pickle.end:,} bytes after its pickle.")
    if "byteorder" in by_name and _bytes(stream, by_name["byteorder"], 16) != b"little":
        raise broken("The checkpoint was written on a big-endian machine.")
    _check_storages(pickle, by_name)
    report = _report(pickle, file_bytes, len(data))
    report.members = members
    return report


def _check_storages(pickle: Pickle, members: dict[str, archive.Member]) -> None:
    used = claims.storages(pickle)
    for key, storage in used.items():
        member = members.get(f"data/{key}")
        if member is None or member.size != storage.size * storage.itemsize:
            held = "none" if member is None else f"{member.size:,}"
            raise broken(
                f"The checkpoint claims {storage.size * storage.itemsize:,} bytes for storage {key[:20]!r} and holds {held}."
            )
    hidden = [name for name in members if name.startswith("data/") and name[5:] not in used]
    if hidden:
        raise unsafe(f"The archive has a storage that no tensor uses: {hidden[0]!a}.")


def _report(pickle: Pickle, file_bytes: int, pickle_bytes: int) -> Static:
    claims.check_names(pickle)
    tensors = claims.check_calls(pickle, budget=4 * file_bytes + (1 << 20))
    return Static(
        tensors,
        stubs=stub_kinds(pickle),
        imports={name.full: meaning for name, meaning in pickle.names.items()},
        listing=tensor_listing(pickle.value),
        opcodes=pickle.opcodes,
        pickle_bytes=pickle_bytes,
    )


def check_opcodes(report: Static) -> None:
    """Raises Refusal (broken) when torch's restricted unpickler cannot read the pickle."""
    foreign = sorted(report.opcodes - pickles.TORCH_OPCODES)
    if foreign:
        raise broken(
            f"The checkpoint was pickled with another protocol than torch.save's own ({', '.join(foreign[:4])}).",
            "Save it again with torch.save(..., pickle_protocol=2), the default, or as safetensors.",
        )


def tensor_listing(value: Any) -> list[dict[str, Any]]:
    """Name, shape and dtype of the tensors reachable through containers, at most MAX_LISTED."""
    found: list[dict[str, Any]] = []
    pending, seen, visits = [("", value)], set[int](), 0
    while pending and len(found) < MAX_LISTED and visits < 10 * MAX_LISTED:
        path, node = pending.pop()
        visits += 1
        if isinstance(node, Call) and node.function.full in names.BUILDERS:
            found.append({"name": path, "shape": list(claims.shape(node)), "dtype": claims.dtype(node)})
        elif isinstance(node, Map | Seq | Call | tuple) and id(node) not in seen:
            seen.add(id(node))
            pending.extend(reversed([(_join(path, key), child) for key, child in _children(node)]))
    return found


def _children(node: Any) -> list[tuple[Any, Any]]:
    match node:
        case Map():
            return node.pairs
        case Seq():
            return list(enumerate(node.items))
        case tuple():
            return list(enumerate(node))
        case Call() if node.function.full == "torch._utils._rebuild_parameter":
            return [("", node.args[0])] if isinstance(node.args, tuple) and node.args else []
        case Call():
            return [*node.pairs, *enumerate(node.items), ("", node.state)]
    return []


def _join(path: str, key: Any) -> str:
    if not isinstance(key, str | int) or key == "" or key in _MODULE_PARTS:
        return path
    return f"{path}.{key}"[-300:] if path else str(key)[:300]


def _bytes(stream: IO[bytes], member: archive.Member, limit: int) -> bytes:
    if member.size > limit:
        raise broken(f"The archive's {member.name} is {member.size:,} bytes, far more than torch writes.")
    stream.seek(member.offset, os.SEEK_SET)
    return stream.read(member.size)
