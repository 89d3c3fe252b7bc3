"""Open or inspect one checkpoint: started by file path, answers in manifest.json.

Arguments: one JSON object with mode (open or inspect), path, format, workdir, cpu_s,
memory_bytes and site (folders where torch lies). Exit status 0 when a manifest was written.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any


def _become_package() -> None:
    """Make this folder importable as `child`, for an isolated interpreter knows no path to it."""
    here = Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location("child", here / "__init__.py", submodule_search_locations=[str(here)])
    if spec is None or spec.loader is None:
        raise ImportError(here)
    module = importlib.util.module_from_spec(spec)
    sys.modules["child"] = module
    spec.loader.exec_module(module)


def main() -> int:
    job = json.loads(sys.argv[1])
    _become_package()
    work = importlib.import_module("child.work")
    answer: dict[str, Any] = work.run(job)
    (Path(job["workdir"]) / "manifest.json").write_text(json.dumps(answer, allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
