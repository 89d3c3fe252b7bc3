"""One scan or audit in a process of its own, so that its memory can be told from the libraries'.

`python -m benchmarks.one_run '{"verb": "scan", "model": PATH, "clean": PATH, "flags": {...}}'` prints one
JSON line: `result` (as result.json), `seconds`, `libraries_bytes`, `peak_bytes`. Other benchmarks call `run_once`.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.rows import ROOT

TIMEOUT_S = 4 * 3600
LIBRARIES = ("numpy", "torch", "torchvision", "PIL.Image", "safetensors.torch", "onnx", "onnxruntime", "auditor.library",
             "auditor.pipeline")  # fmt: skip


def run_once(
    verb: str, model: Path, clean: Path, *, threads: int = 1, timeout_s: float = TIMEOUT_S, published: bool = False,
    **flags: Any,
) -> dict[str, Any]:  # fmt: skip
    """Run `auditor.<verb>` on a file and images by path, in a fresh interpreter; with `published`, baselines as published.

    Raises RuntimeError with the end of its stderr when it printed no result.
    """
    spec = {"verb": verb, "model": str(model), "clean": str(clean), "published": published,
            "flags": flags | {"threads": threads}}  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", "benchmarks.one_run", json.dumps(spec)], cwd=ROOT, env=environment,
                          capture_output=True, text=True, timeout=timeout_s)  # fmt: skip
    try:
        told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, json.JSONDecodeError) as error:
        raise RuntimeError(f"{verb} {model} printed no result (exit {done.returncode}):\n{done.stderr[-2000:]}") from error
    return told


def memory(key: str) -> int:
    """Bytes of this process: `VmRSS` now, or `VmHWM` at its highest.

    Linux lets a child inherit the parent's ru_maxrss, so that is only used where /proc is not there.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(argv: list[str] | None = None) -> int:
    """Run what the one argument describes; returns 0 when a result was printed."""
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        print(__doc__, file=sys.stderr)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    for name in LIBRARIES:
        __import__(name)
    import auditor
    from auditor.plain import to_plain
    from auditor.unlearn import METHODS
    from auditor.unlearn.baselines import PUBLISHED

    spec = json.loads(arguments[0])
    if spec.get("published"):
        METHODS.update(PUBLISHED)
    libraries = memory("VmRSS")
    began = time.perf_counter()
    result = getattr(auditor, spec["verb"])(spec["model"], clean=spec["clean"], **spec["flags"])
    seconds = time.perf_counter() - began
    print(json.dumps({"result": to_plain(result), "seconds": seconds, "libraries_bytes": libraries,
                      "peak_bytes": memory("VmHWM")}))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
