"""The gate: a checkpoint goes in, tensors come out, and nothing in the file ever runs.

The file is copied and hashed at once, sniffed, and handed to a child process that analyses
it without deserializing, replaces unknown classes by inert stubs, and writes safetensors
that are mapped here. See `child/` for what the child does.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.checkpoint import manifest
from auditor.checkpoint.process import run_child
from auditor.checkpoint.sniff import check_opened, open_regular, sniff
from auditor.domain import Artifact, FileSafety, Finding
from auditor.errors import BrokenCheckpointError, InputError, OutputError, UnsafeCheckpointError, printable

if TYPE_CHECKING:
    from torch import Tensor

COPY_BYTES = 4 << 20
TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A checkpoint's weights, and what opening it showed.

    `state` maps names to CPU tensors: floating ones float32, integer ones as they were;
    `dtypes` names what each was in the file. `hints` is what the file says about its network
    (architecture, num_classes, class_names, mean, std, input_size, dataset, module_class),
    plain values only and not to be trusted. `prefix` was stripped from every name, and
    `wrapper` leads to the weights inside the file.
    """

    artifact: Artifact
    file_safety: FileSafety
    state: dict[str, Tensor]
    dtypes: dict[str, str]
    hints: dict[str, Any] = field(default_factory=dict)
    prefix: str = ""
    wrapper: tuple[str, ...] = ()

    def original_key(self, key: str) -> str:
        """The name that `state[key]` has in the suspect's own state dict."""
        return self.prefix + key


def open_checkpoint(
    path: Path, *, workdir: Path | None = None, timeout_s: float = TIMEOUT_S, memory_limit_bytes: int | None = None
) -> Opened:
    """The weights in the file, read by a sandboxed child that runs no code from it.

    `workdir` is where temporary copies go (default: the system's); they are removed again.
    `memory_limit_bytes` is what the child may take beyond torch itself (default: 1 GiB and
    twelve times the file). Raises InputError when the path cannot be read,
    UnsafeCheckpointError when the file would act or hides something, BrokenCheckpointError
    when it is damaged, of another format, or the child died on it.
    """
    with _snapshot(Path(path), workdir) as (copy, artifact):
        check_opened(artifact.format, Path(path))
        answer = run_child(
            "open", copy, artifact, timeout_s=timeout_s, memory_bytes=memory_limit_bytes or default_memory(artifact)
        )
        raise_refusal(answer, artifact)
        told = manifest.read_opened(answer)
        state = _mapped(copy.parent / "state.safetensors", told.dtypes)
    return Opened(
        artifact=artifact,
        file_safety=_file_safety(told),
        state=state,
        dtypes=told.dtypes,
        hints=told.hints,
        prefix=told.prefix,
        wrapper=told.path,
    )


def inspect_file(
    path: Path, *, workdir: Path | None = None, timeout_s: float = TIMEOUT_S
) -> tuple[Artifact, FileSafety, dict[str, Any]]:
    """What the file is and holds, told without deserializing it.

    The details: `imports` (name to allowed, stub or dangerous), `members` of an archive with
    their sizes, `tensors` with name, shape and dtype. A dangerous file gives a FileSafety of
    status dangerous. Raises InputError and BrokenCheckpointError as `open_checkpoint` does.
    """
    with _snapshot(Path(path), workdir) as (copy, artifact):
        check_opened(artifact.format, Path(path))
        answer = run_child("inspect", copy, artifact, timeout_s=timeout_s, memory_bytes=default_memory(artifact))
    refused = manifest.read_refusal(answer)
    if refused is not None and refused.kind == "unsafe":
        return artifact, dangerous(refused), {"imports": dict.fromkeys(refused.names, "dangerous")}
    raise_refusal(answer, artifact)
    told = manifest.read_inspected(answer)
    return artifact, _file_safety(told), told.details


def default_memory(artifact: Artifact) -> int:
    return (1 << 30) + 12 * artifact.bytes


def raise_refusal(answer: dict[str, Any], artifact: Artifact) -> None:
    """Raises the error that the child's refusal means; returns when it refused nothing."""
    refused = manifest.read_refusal(answer)
    if refused is None:
        return
    what = f"{printable(artifact.path)}: {refused.what}"
    if refused.kind == "unsafe":
        raise UnsafeCheckpointError(what, refused.next_step)
    raise BrokenCheckpointError(what, refused.next_step)


def dangerous(refused: manifest.Refused) -> FileSafety:
    """The file_safety of a file that was refused as unsafe."""
    kind = "dangerous_import" if refused.names else "hidden_content"
    return FileSafety(status="dangerous", findings=[Finding(severity="danger", kind=kind, message=refused.what)])


@contextmanager
def _snapshot(path: Path, workdir: Path | None) -> Iterator[tuple[Path, Artifact]]:
    """A private copy of the file, hashed as it is made, so that what is hashed is what is opened."""
    with _folder(workdir) as folder:
        copy, digest, size = Path(folder) / "snapshot", hashlib.sha256(), 0
        try:
            with open_regular(path) as source, copy.open("xb") as target:
                while chunk := source.read(COPY_BYTES):
                    digest.update(chunk)
                    target.write(chunk)
                    size += len(chunk)
        except OSError as error:
            raise InputError(
                f"{printable(path)} could not be copied to be opened: {error.strerror}.",
                "Check the disk's free space, or set TMPDIR to a folder with room.",
            ) from error
        if size == 0:
            raise BrokenCheckpointError(f"{printable(path)} is empty.", "Get the file again from its source.")
        yield copy, Artifact(path=str(path), bytes=size, sha256=digest.hexdigest(), format=sniff(copy))


def _folder(workdir: Path | None) -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="auditor-gate-", dir=workdir, ignore_cleanup_errors=True)
    except OSError as error:
        raise OutputError(
            f"No temporary folder could be made to open the checkpoint in: {error.strerror}.",
            "Check the disk's free space, or set TMPDIR to a folder that can be written.",
        ) from error


def _file_safety(told: manifest.Told) -> FileSafety:
    findings = list(told.findings)
    if told.stubbed:
        shown = ", ".join(told.stubbed[:5]) + (f" and {len(told.stubbed) - 5} more" if len(told.stubbed) > 5 else "")
        message = f"The file names classes that were replaced by inert stubs: {shown}. Only its weights are judged."
        findings.insert(0, Finding(severity="info", kind="stubbed_classes", message=message))
    return FileSafety(
        status="findings" if findings else "safe", findings=findings, stubbed=told.stubbed, tensors=told.tensors
    )


def _mapped(path: Path, dtypes: dict[str, str]) -> dict[str, Tensor]:
    """The child's tensors, mapped from its file; the mapping outlives the file's name.

    Raises BrokenCheckpointError when they are not those that the manifest names.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: dict[str, Tensor] = load_file(path, device="cpu")
    except (OSError, SafetensorError) as error:
        raise BrokenCheckpointError("The process that opened the file left no readable weights.") from error
    floats = (tensor.dtype for tensor in state.values() if tensor.is_floating_point())
    if set(state) != set(dtypes) or any(dtype != torch.float32 for dtype in floats):
        raise BrokenCheckpointError("The process that opened the file left other weights than it named.")
    return {name: state[name] for name in dtypes}
