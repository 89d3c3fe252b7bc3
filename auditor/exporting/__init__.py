"""Writes a suspect as ONNX and safetensors, and measures that the ONNX file says the same."""

from __future__ import annotations

from pathlib import Path

from auditor.domain import Export
from auditor.errors import InputError, OutputError, printable
from auditor.exporting.onnx_file import export_onnx
from auditor.exporting.parity import ONNX_TOLERANCE, Parity, onnx_parity
from auditor.exporting.tensor_file import export_safetensors
from auditor.files import sha256_of

__all__ = ["ONNX_TOLERANCE", "Parity", "describe", "export_onnx", "export_safetensors", "onnx_parity"]


def describe(path: Path, kind: str, parity: Parity | None = None, *, root: Path | None = None) -> Export:
    """The entry of `exports` for a written file; its path is relative to `root` when that is given.

    Raises OutputError when the file cannot be read back.
    """
    try:
        digest, size = sha256_of(path), path.stat().st_size
    except (OSError, InputError) as error:
        raise OutputError(f"{printable(path)} cannot be read back: {printable(error)}.", "Export it again.") from error
    return Export(
        path=path.relative_to(root).as_posix() if root else str(path), format=kind, bytes=size, sha256=digest,
        max_abs_logit_difference=parity.max_abs_logit_difference if parity else None,
        argmax_agreement=parity.argmax_agreement if parity else None,
    )  # fmt: skip
