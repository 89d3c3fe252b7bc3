"""`doctor`: whether this machine can run audits, each part tried rather than looked up."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from auditor.cli.paragraphs import Line
from auditor.cli.running import version_of
from auditor.errors import AuditorError, printable
from auditor.report.text import byte_size

OLDEST_PYTHON = (3, 11)
LEAST_FREE_BYTES = 2 * 10**9
_REINSTALL = "Set the environment up again (`make setup`), so that versions that fit together are installed."
_STYLE = {"ok": "green", "missing": "yellow", "failed": "bold red"}


@dataclass(frozen=True, kw_only=True)
class Check:
    """One part of the machine. `missing` costs a feature; `failed` in a `core` part stops audits."""

    name: str
    status: Literal["ok", "missing", "failed"]
    found: str
    next_step: str = ""
    core: bool = False


def examine() -> list[Check]:
    """Try every part. A part that fails is a check, never an exception."""
    parts: list[tuple[str, bool, Callable[[], Check]]] = [
        ("python", True, _python), ("torch", True, _torch), ("device", False, _device), ("bfloat16", False, _bfloat16),
        ("onnxruntime", True, _onnxruntime), ("sandbox", True, _sandbox), ("temporary files", True, _temporary),
        ("report templates", True, _templates), ("pdf", False, _pdf), ("terminal", False, _terminal),
    ]  # fmt: skip
    return [_tried(name, core, part) for name, core, part in parts]


def _tried(name: str, core: bool, part: Callable[[], Check]) -> Check:
    try:
        return part()
    except AuditorError as error:
        return Check(name=name, status="failed", found=error.what, next_step=error.next_step, core=core)
    except Exception as error:
        # Libraries that do not fit together raise anything at import; naming it is this verb's purpose.
        found = f"{type(error).__name__}: {printable(error, 300)}"
        return Check(name=name, status="failed", found=found, next_step=_REINSTALL, core=core)


def core_works(checks: Sequence[Check]) -> bool:
    return not any(check.core and check.status == "failed" for check in checks)


def lines(checks: Sequence[Check]) -> list[Line]:
    """The checks for a terminal, and what they come to."""
    done = []
    for check in checks:
        lead = f"{check.status.ljust(8)} {check.name.ljust(17)}"
        done.append(Line(text=check.found, lead=lead, style="" if check.status == "ok" else _STYLE[check.status]))
        if check.next_step:
            done.append(Line(text=check.next_step, indent=len(lead)))
    works = core_works(checks)
    said = "Audits can run on this machine." if works else "Audits cannot run on this machine."
    return [*done, Line(text=""), Line(text=said, style=_STYLE["ok" if works else "failed"])]


def to_plain(checks: Sequence[Check]) -> dict[str, Any]:
    """The checks as a JSON object."""
    return {"tool": "auditor", "version": version_of("auditor"), "works": core_works(checks),
            "checks": [asdict(check) for check in checks]}  # fmt: skip


def _python() -> Check:
    found = f"Python {platform.python_version()} on {platform.platform(terse=True)}, {os.cpu_count()} CPU cores"
    if sys.version_info[:2] < OLDEST_PYTHON:
        return Check(name="python", status="failed", found=found, next_step="Use Python 3.11 or newer.", core=True)
    return Check(name="python", status="ok", found=found, core=True)


def _torch() -> Check:
    """torch and torchvision come in pairs; a wrong pair fails at import or at the first operator."""
    import torch
    from torchvision import ops  # type: ignore[import-untyped]

    kept = ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    if len(kept) != 1:
        raise AuditorError("torchvision's operators do not work.", _REINSTALL)
    found = ", ".join(f"{name} {version_of(name)}" for name in ("torch", "torchvision", "timm", "safetensors"))
    return Check(name="torch", status="ok", found=f"{found}, {torch.get_num_threads()} threads", core=True)


def _device() -> Check:
    import torch

    if not torch.cuda.is_available():
        return Check(name="device", status="ok", found="cpu; no CUDA device, so audits take minutes, not seconds")
    names = [f"cuda:{i} {torch.cuda.get_device_name(i)}, {byte_size(torch.cuda.get_device_properties(i).total_memory)}"
             for i in range(torch.cuda.device_count())]  # fmt: skip
    return Check(name="device", status="ok", found="; ".join(names))


def _bfloat16() -> Check:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    ones = torch.ones(8, 8, dtype=torch.bfloat16, device=device)
    if float((ones @ ones).sum()) != 512.0:
        return Check(name="bfloat16", status="missing", found=f"wrong results on {device}; float32 is used")
    if device == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = any(name in _cpu_flags() for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return Check(name="bfloat16", status="ok", found=f"{'native' if native else 'emulated, so slower,'} on {device}")


def _cpu_flags() -> set[str]:
    """The CPU's features as Linux lists them; empty elsewhere."""
    try:
        listed = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    rows = (line.partition(":")[2] for line in listed if line.lower().startswith(("flags", "features")))
    return set(next(rows, "").split())


def _onnxruntime() -> Check:
    import onnx
    import onnxruntime  # type: ignore[import-untyped]

    providers = [name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()]
    found = f"onnxruntime {onnxruntime.__version__} ({', '.join(providers)}), onnx {onnx.__version__}"
    return Check(name="onnxruntime", status="ok", found=found, core=True)


def _sandbox() -> Check:
    """Open a tiny checkpoint the way every checkpoint is opened."""
    import torch

    from auditor.checkpoint.gate import open_checkpoint

    with tempfile.TemporaryDirectory(prefix="auditor-doctor-") as folder:
        path = Path(folder) / "tiny.pt"
        torch.save({"fc.weight": torch.ones(2, 2)}, path)
        opened = open_checkpoint(path)
    if not bool((opened.state["fc.weight"] == 1).all()):
        raise AuditorError("The sandbox gave other weights than the file holds.", _REINSTALL)
    return Check(name="sandbox", status="ok", found="opened a test checkpoint in a child process", core=True)


def _temporary() -> Check:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    found = f"{folder}, {byte_size(free)} free"
    if free < LEAST_FREE_BYTES:
        next_step = "Free some space, or set TMPDIR to a folder with room for copies of your checkpoints."
        return Check(name="temporary files", status="missing", found=found, next_step=next_step)
    return Check(name="temporary files", status="ok", found=found, core=True)


def _templates() -> Check:
    from auditor.report.page import environment

    template = environment().get_template("report.html")
    folder = Path(template.filename or "").parent
    return Check(name="report templates", status="ok", found=f"found in {folder}", core=True)


def _pdf() -> Check:
    from auditor.report.pdf import PdfError, to_pdf

    try:
        size = len(to_pdf("<html lang='en'><title>doctor</title><p>doctor</p></html>"))
    except PdfError as error:
        return Check(name="pdf", status="missing", found=f"{error.what} Reports are HTML only.",
                     next_step=error.next_step)  # fmt: skip
    return Check(name="pdf", status="ok", found=f"WeasyPrint {version_of('weasyprint')} printed {byte_size(size)}")


def _terminal() -> Check:
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        return Check(name="terminal", status="ok", found="none: progress is plain lines, and `auditor tui` needs one")
    colours = "no colour" if console.no_color else f"{console.color_system or 'no'} colour"
    found = f"{console.width}x{console.height}, {colours}, {console.encoding}"
    if console.is_dumb_terminal or not console.encoding.lower().startswith("utf"):
        return Check(name="terminal", status="missing", found=found,
                     next_step="`auditor tui` needs a UTF-8 terminal with cursor control.")  # fmt: skip
    return Check(name="terminal", status="ok", found=found)
