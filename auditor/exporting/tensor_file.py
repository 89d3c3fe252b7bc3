"""A suspect's weights as safetensors, under the keys of the file they came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from auditor.errors import OutputError, printable
from auditor.exporting.metadata import clean_metadata
from auditor.files import replacing
from auditor.suspect import Suspect

_RESERVED_KEY = "__metadata__"


def export_safetensors(
    suspect: Suspect, path: Path, *, keys: Mapping[str, str] | None = None, metadata: Mapping[str, str]
) -> None:
    """Write the state dict; `keys` maps the module's keys to the suspect file's where they differ.

    Tensors that share memory are written each in full; the same weights give the same bytes.
    Raises OutputError when two different tensors would get one key, a key cannot be stored or
    the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for name, value in suspect.module.state_dict().items():
        key = (keys or {}).get(name, name)
        if key == _RESERVED_KEY:
            raise OutputError(f"The key {key!r} cannot be stored in safetensors.", "Rename it in the checkpoint.")
        if key in tensors and not torch.equal(tensors[key], value.cpu()):
            raise OutputError(f"Two tensors would be stored as {printable(key, 80)!r}.", "Export as ONNX instead.")
        tensors[key] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
    try:
        content = safetensors.torch.save(tensors, clean_metadata(metadata))
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise OutputError(
            f"The weights cannot be stored as safetensors: {printable(error)}.", "Export as ONNX instead."
        ) from error
    with replacing(path) as stream:
        stream.writelines(_in_order(content))


def _in_order(content: bytes) -> tuple[bytes, bytes, memoryview]:
    """The parts of a safetensors file with its metadata sorted: the library writes them in random order."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header = {_RESERVED_KEY: dict(sorted(header.pop(_RESERVED_KEY, {}).items())), **header}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little"), text, memoryview(content)[8 + length :]
