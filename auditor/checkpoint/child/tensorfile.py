"""The header of a safetensors file, read strictly and without its data."""

from __future__ import annotations

import json
import math
from typing import IO, Any

from .refusal import broken, unsafe

MAX_HEADER_BYTES = 32 << 20
MAX_TENSORS = 100_000
ITEM_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U8": 8, "U16": 16,
    "U32": 32, "U64": 64, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8,
}  # fmt: skip


def read_header(stream: IO[bytes], file_bytes: int) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The tensors (`name`, `dtype`, `shape`) in file order, and the metadata strings.

    The tensors must tile the data exactly. Raises Refusal otherwise.
    """
    length = int.from_bytes(stream.read(8), "little")
    if length > min(MAX_HEADER_BYTES, file_bytes - 8):
        raise broken("The safetensors header is longer than the file: the file is truncated.")
    try:
        header = json.loads(stream.read(length).decode("utf-8"), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise broken(f"The safetensors header is not proper JSON: {str(error)[:80]}") from error
    if not isinstance(header, dict):
        raise broken("The safetensors header is not an object.")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise broken("The safetensors metadata is not a table of strings.")
    if not 0 < len(header) <= MAX_TENSORS:
        raise broken(f"The safetensors file lists {len(header):,} tensors.")
    _check_tiling(header, file_bytes - 8 - length)
    tensors = [{"name": name, "dtype": entry["dtype"], "shape": entry["shape"]} for name, entry in header.items()]
    return tensors, metadata


def _check_tiling(header: dict[str, Any], data_bytes: int) -> None:
    position = 0
    for name, entry in sorted(header.items(), key=lambda item: _offsets(*item)):
        begin, end = _offsets(name, entry)
        kind, shape = entry.get("dtype"), entry.get("shape")
        if kind not in ITEM_BITS:
            raise broken(f"The tensor {name[:80]!a} has an element type that is not supported: {ascii(kind)[:40]}.")
        if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape) or len(shape) > 16:
            raise broken(f"The tensor {name[:80]!a} has no proper shape.")
        if begin != position or (end - begin) * 8 != math.prod(shape) * ITEM_BITS[kind]:
            raise broken(f"The tensor {name[:80]!a} does not lie where its shape says.")
        position = end
    if position != data_bytes:
        raise broken("The safetensors file is truncated, or has bytes that belong to no tensor.")


def _offsets(name: str, entry: Any) -> tuple[int, int]:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    good = isinstance(offsets, list) and len(offsets) == 2 and all(type(n) is int and n >= 0 for n in offsets)
    if not good or not isinstance(offsets, list):
        raise broken(f"The tensor {name[:80]!a} has no proper place in the file.")
    return offsets[0], offsets[1]


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise unsafe("The safetensors header names a tensor twice.")
    return found
