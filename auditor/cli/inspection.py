"""`inspect`: what a file is and holds, found without deserializing it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from auditor.cli.paragraphs import Line
from auditor.cli.running import bare_result
from auditor.domain import AuditResult, ErrorRecord, FileSafety
from auditor.report.text import byte_size
from auditor.request import Request

MOST_TENSORS = 20
MOST_NAMES = 10
REFUSED = 4
_STYLE = {"danger": "bold red", "warning": "yellow", "info": ""}
_SAID = {
    "safe": "Nothing in this file acts when it is opened, and it can be audited.",
    "findings": "This file can be opened safely; see the findings.",
    "dangerous": "Dangerous: this file is refused.",
}


def inspect(request: Request) -> AuditResult:
    """The result of a static look at `request.model`: artifact, file safety and its details.

    A dangerous file has exit code 4 in it. Raises the errors of `gate.inspect_file`.
    """
    from auditor.checkpoint.gate import inspect_file

    artifact, safety, details = inspect_file(Path(request.model))
    safety = replace(safety, details=details)
    result = replace(bare_result(request), artifact=artifact, file_safety=safety)
    if safety.status != "dangerous":
        return result
    why = "; ".join(f.message for f in safety.findings if f.severity == "danger")
    error = ErrorRecord(
        kind="unsafe_checkpoint", what=f"{request.model} is dangerous: {why}",
        next_step="Do not open it with any other tool; ask its source for a safetensors file.",
    )  # fmt: skip
    return replace(result, run=replace(result.run, exit_code=REFUSED), errors=[error])


def lines(result: AuditResult) -> Iterator[Line]:
    """The result of `inspect` for a terminal."""
    if result.artifact is not None:
        for label, said in (
            ("file", result.artifact.path),
            ("format", result.artifact.format),
            ("size", f"{byte_size(result.artifact.bytes)} ({result.artifact.bytes} bytes)"),
            ("sha256", result.artifact.sha256),
        ):
            yield Line(text=said, lead=label.ljust(10))
    if result.file_safety is not None:
        yield from _safety(result.file_safety)


def _safety(safety: FileSafety) -> Iterator[Line]:
    yield Line(text="")
    yield Line(text=_SAID[safety.status], style="bold red" if safety.status == "dangerous" else "bold")
    for finding in safety.findings:
        yield Line(text=finding.message, lead=f"{finding.severity}: ", indent=2, style=_STYLE[finding.severity])
    imports = safety.details.get("imports")
    if isinstance(imports, dict) and imports:
        yield from _imports(imports)
    tensors = safety.details.get("tensors")
    if isinstance(tensors, list) and tensors:
        yield from _tensors(tensors, safety.tensors)


def _imports(imports: dict[str, Any]) -> Iterator[Line]:
    yield Line(text="")
    yield Line(text="Names in the pickle", style="bold")
    rank = {"dangerous": 0, "stub": 1}
    ranked = sorted(imports.items(), key=lambda item: (rank.get(str(item[1]), 2), item[0]))
    for name, status in ranked[:MOST_NAMES]:
        yield Line(text=name, lead=str(status).ljust(10), indent=2)
    yield from _more(len(ranked) - MOST_NAMES)


def _tensors(tensors: list[Any], count: int) -> Iterator[Line]:
    rows = [row for row in tensors[:MOST_TENSORS] if isinstance(row, dict)]
    yield Line(text="")
    yield Line(text=f"{count} tensors", style="bold")
    shown = [(str(row.get("name")), _shape(row.get("shape")), str(row.get("dtype"))) for row in rows]
    widest = max((len(shape) for _, shape, _ in shown), default=0)
    for name, shape, dtype in shown:
        yield Line(text=name, lead=f"{shape.rjust(widest)}  {dtype.ljust(9)} ", indent=2)
    yield from _more(max(count, len(tensors)) - len(rows))


def _shape(dimensions: Any) -> str:
    if not isinstance(dimensions, list):
        return "?"
    return "x".join(str(size) for size in dimensions[:8]) or "scalar"


def _more(count: int) -> Iterator[Line]:
    if count > 0:
        yield Line(text=f"and {count} more (--format json lists them)", indent=2)
