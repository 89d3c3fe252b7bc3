"""One removal of a backdoored model of the zoo: by the whole of `auto`, or by one method once.

A method alone goes from the detection straight to its model, as `auto` would first have it from that method, and
nothing verifies it: what it left is measured by the true trigger anyway.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.plain import to_plain
from benchmarks.measuring import read_run
from benchmarks.one_run import run_once
from benchmarks.rows import Row

if TYPE_CHECKING:
    from auditor.suspect import Suspect

SANITIZED = ("sanitized.safetensors", "evidence/candidate_sanitized.safetensors")
Measure = Callable[[Path], Row]


def scan_once(model: Path, clean: Path, folder: Path, **flags: Any) -> Row:
    """The result of scanning the model into `folder`/scan, from there when it was scanned before."""
    run = folder / "scan"
    if not (run / "result.json").is_file():
        shutil.rmtree(run, ignore_errors=True)
        run_once("scan", model, clean, output=str(run), **flags)
    plain: Row = to_plain(read_run(run))
    return plain


def by_audit(model: Path, clean: Path, folder: Path, measure: Measure, **flags: Any) -> Row:
    """What `auditor audit` makes of the model, going on from the scan."""
    run = folder / "auto"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(folder / "scan", run)
    result = run_once("audit", model, clean, output=str(run), **flags)["result"]
    found = next((run / name for name in SANITIZED if (run / name).is_file()), None)
    tried, verification = (result["unlearning"] or {}).get("tried", []), result["verification"] or {}
    row: Row = {
        "passed": verification.get("passed"), "kept": (result["unlearning"] or {}).get("method"),
        "tried": [(a["method"], a["accepted"], a["seconds"], a["reason"]) for a in tried],
        "unlearn_seconds": result["run"]["seconds"].get("unlearn"), "errors": result["errors"],
        "after": measure(found) if found is not None else None,
    }  # fmt: skip
    shutil.rmtree(run)
    return row


class Alone:
    """Methods, each alone, on one scanned model: they share the triggers that are synthesized beside the found ones."""

    def __init__(self, model: Path, clean: Path, folder: Path, **flags: Any) -> None:
        from auditor import pipeline
        from auditor.events import Control, drain
        from auditor.pipeline.stages import removal_case
        from auditor.remedy import every_trigger
        from auditor.request import Request

        self.run = folder / "alone"
        shutil.rmtree(self.run, ignore_errors=True)
        shutil.copytree(folder / "scan", self.run)
        request = Request(model=str(model), clean=str(clean), output=str(self.run), **flags)
        self.session = pipeline.start(request, Control())
        drain(pipeline.scan(self.session))
        self.case = removal_case(self.session)
        began = time.perf_counter()
        drain(every_trigger(self.case, self.case.work, []))
        self.synthesis_seconds = time.perf_counter() - began

    def model(self, name: str, *, published: bool = False) -> Suspect:
        """What the method makes of the suspect, in one go."""
        from auditor.events import drain
        from auditor.remedy import unlearned
        from auditor.unlearn import METHODS
        from auditor.unlearn.baselines import PUBLISHED

        method = PUBLISHED[name] if published else METHODS[name]
        return drain(unlearned(self.case, method, self.case.work, []))

    def unlearn(self, name: str, *, published: bool, measure: Measure) -> Row:
        """The method's row; `unlearn_seconds` counts the shared synthesis too where the method uses triggers."""
        from auditor.exporting import export_safetensors
        from auditor.unlearn.baselines import BASELINES

        meter, began = self.session.model.meter, time.perf_counter()
        before = meter.forward_images, meter.backward_images
        model = self.model(name, published=published)
        seconds = time.perf_counter() - began + (0.0 if name in BASELINES else self.synthesis_seconds)
        path = self.run / "alone.safetensors"
        export_safetensors(model, path, keys=self.session.keys or None, metadata={})
        return {
            "passed": None, "kept": name, "tried": [], "unlearn_seconds": seconds, "errors": [],
            "images_forward": meter.forward_images - before[0], "images_backward": meter.backward_images - before[1],
            "after": measure(path),
        }  # fmt: skip

    def close(self) -> None:
        """Let go of the run folder and remove it."""
        if self.session.run is not None:
            self.session.run.close()
        shutil.rmtree(self.run, ignore_errors=True)
