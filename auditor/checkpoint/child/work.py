"""The child's work from job to manifest."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from . import archive, hints, sandbox, static
from .refusal import Refusal, broken
from .unwrap import unwrap

STATIC_BYTES = 4 << 30


def run(job: dict[str, Any]) -> dict[str, Any]:
    """The manifest: what was found, or `refused` with the kind, what and next step."""
    path, workdir = Path(job["path"]), Path(job["workdir"])
    file_bytes = path.stat().st_size
    sandbox.isolate()
    sandbox.limit_time_and_files(job["cpu_s"], _output_budget(file_bytes) + (256 << 20))
    sandbox.limit_memory(STATIC_BYTES, for_good=False)
    try:
        report = static.analyse(path, job["format"])
        answer = _described(report)
        if job["mode"] == "open":
            static.check_opcodes(report)
            answer |= _open(job, report, path, workdir)
    except Refusal as refusal:
        return _refused(refusal)
    except (MemoryError, RecursionError) as error:
        return _refused(broken(f"The file asks for more memory than it can need ({type(error).__name__})."))
    return answer


def _refused(refusal: Refusal) -> dict[str, Any]:
    refused = {"kind": refusal.kind, "what": refusal.what, "next_step": refusal.next_step}
    return {"refused": {**refused, "names": list(refusal.names)[:100]}}


def _described(report: static.Static) -> dict[str, Any]:
    return {
        "tensors": report.tensors,
        "stubbed": sorted(report.stubs)[:1000],
        "findings": [],
        "details": {
            "imports": dict(sorted(report.imports.items())[:1000]),
            "members": [[member.name, member.size] for member in report.members[: static.MAX_LISTED]],
            "tensors": report.listing[: static.MAX_LISTED],
            "pickle_bytes": report.pickle_bytes,
        },
    }


def _open(job: dict[str, Any], report: static.Static, path: Path, workdir: Path) -> dict[str, Any]:
    """Deserialize, unwrap and write state.safetensors. torch is imported only now."""
    file_bytes = path.stat().st_size
    sandbox.lift_memory_limit()
    sys.path.extend(folder for folder in job["site"] if folder not in sys.path)
    from . import loading

    sandbox.limit_memory(job["memory_bytes"], for_good=True)
    if job["format"] == "safetensors":
        root: Any = loading.load_safetensors(path)
        told = hints.gather({"metadata": report.metadata})
    else:
        root = loading.load_pickled(_canonical(report, path, workdir), report.stubs)
        told = hints.gather(root)
    weights = unwrap(root, loading.is_tensor)
    if weights.module_class:
        told["module_class"] = weights.module_class[:200]
    dtypes, findings = loading.write_state(weights.state, workdir / "state.safetensors", _output_budget(file_bytes))
    return {
        "findings": [list(finding) for finding in [*weights.findings, *findings]],
        "dtypes": dtypes,
        "hints": told,
        "prefix": weights.prefix,
        "path": weights.path,
    }


def _canonical(report: static.Static, path: Path, workdir: Path) -> Path:
    """What torch reads: for an archive its repack, so that scanner and torch see the same."""
    if not report.members:
        return path
    target = workdir / "canonical.pt"
    with path.open("rb") as stream:
        archive.repack(stream, report.members, target)
    return target


def _output_budget(file_bytes: int) -> int:
    return 8 * file_bytes + (64 << 20)
