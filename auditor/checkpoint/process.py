"""Starting the child that opens a checkpoint, and ending it whatever happens."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

from auditor.domain import Artifact
from auditor.errors import AuditorError, BrokenCheckpointError, printable

CHILD = Path(__file__).resolve().parent / "child" / "__main__.py"
MAX_MANIFEST_BYTES = 64 << 20
_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
_NEXT_STEP = "Get the file again from its source, or ask for a safetensors file."


def run_child(
    mode: Literal["open", "inspect"], path: Path, artifact: Artifact, *, timeout_s: float, memory_bytes: int
) -> dict[str, Any]:
    """The child's manifest for the file at `path`, in whose folder the child works.

    Raises BrokenCheckpointError when the child runs out of time or memory, or dies.
    """
    workdir, log = path.parent, path.parent / "child.log"
    job = {
        "mode": mode,
        "path": str(path),
        "format": artifact.format,
        "workdir": str(workdir),
        "cpu_s": max(1, int(timeout_s)),
        "memory_bytes": memory_bytes,
        "site": _site_folders(),
    }
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-I", "-B", str(CHILD), json.dumps(job)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_environment(workdir),
            cwd=workdir,
            start_new_session=True,
            close_fds=True,
        )
        try:
            status = child.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise BrokenCheckpointError(
                f"{printable(artifact.path)} was not opened within {timeout_s:g} seconds.", _NEXT_STEP
            ) from error
        finally:
            _end(child)
    if status != 0:
        raise _death(status, log, artifact)
    return _manifest(workdir / "manifest.json")


def _environment(workdir: Path) -> dict[str, str]:
    """Nothing of the user's environment but what a dynamic linker may need."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return kept | {
        "LANG": "C.UTF-8",
        "HOME": str(workdir),
        "TMPDIR": str(workdir),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }


def _site_folders() -> list[str]:
    """Where torch and safetensors lie: an isolated interpreter may not look there itself."""
    specs = (importlib.util.find_spec(name) for name in ("torch", "safetensors"))
    return sorted({str(Path(spec.origin).parent.parent) for spec in specs if spec and spec.origin})


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and whatever it started."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        child.kill()
    child.wait()


def _death(status: int, log: Path, artifact: Artifact) -> AuditorError:
    """The error that a child's exit status means: a signal, memory, or a fault of the installation."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 4000))
        lines = stream.read().decode("utf-8", "replace").strip().splitlines()
    last = printable(lines[-1]) if lines else "no message"
    if "ModuleNotFoundError" in last or "ImportError" in last:
        return AuditorError(f"The process that opens checkpoints could not start: {last}", "Run `auditor doctor`.")
    if status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else str(-status)
        causes = {"SIGKILL": "out of memory", "SIGXCPU": "out of time", "SIGXFSZ": "writing far too much"}
        last = f"{causes.get(name, 'a crash')} ({name})"
    return BrokenCheckpointError(
        f"{printable(artifact.path)} could not be opened: the process that read it ended with {last}.", _NEXT_STEP
    )


def _manifest(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ValueError("too long")
        answer: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise BrokenCheckpointError("The process that opened the file left no readable answer.", _NEXT_STEP) from error
    return answer
