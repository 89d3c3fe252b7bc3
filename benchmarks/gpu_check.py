"""Does CUDA reach the CPU's verdict? Audits one model on both and compares, with the core's dependencies alone.

    python -m benchmarks.gpu_check [--model samples/suspect.pt --clean samples/clean] [--profile standard]
    python -m benchmarks.gpu_check --model .zoo/NAME/model.pt --clean IMAGES.npz --scan-only

Compared: verdict, target classes, score (within 0.02), whether the sanitized model passed, and each
device's sanitized network with its own ONNX file. Without CUDA the CPU half runs and CUDA is not measured.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from auditor import pipeline
from auditor.domain import AuditResult
from auditor.errors import AuditorError
from auditor.events import Control, drain
from auditor.exporting import Parity, onnx_parity
from auditor.pipeline import Session
from auditor.request import Request
from benchmarks.rows import RESULTS, ROOT, append_row, commit, table

SCORE_TOLERANCE = 0.02
NOT_MEASURED = "not measured"


@dataclass(frozen=True, kw_only=True)
class Half:
    """What one device made of the model. `parity_holds` is None where no sanitized model was written."""

    device: str
    verdict: str | None
    target_classes: list[int]
    score: float | None
    passed: bool | None
    logit_difference: float | None
    parity_holds: bool | None
    seconds: float
    images: int
    stages: dict[str, float]
    exit_code: int | None
    error: str = ""

    @property
    def images_per_second(self) -> float:
        """Images passed forward or backward, over all seconds of the run."""
        return self.images / self.seconds if self.seconds else 0.0


def run_half(request: Request, *, scan_only: bool) -> Half:
    """Audit (or scan) on the request's device through the pipeline, without the report.

    Raises AuditorError when the request cannot start.
    """
    session = pipeline.start(request, Control())
    body = pipeline.scan(session) if scan_only else pipeline.audit(session)
    result = drain(pipeline.run(session, body))
    parity = None if scan_only else _parity(session, Path(request.output or ""))
    return _half(result, request.device, parity)


def _parity(session: Session, run: Path) -> Parity | None:
    """The sanitized network on its device against the ONNX file it was written to."""
    path = next((run / e.path for e in session.result.exports if e.format == "onnx"), None)
    if path is None or session.sanitized is None:
        return None
    stamped = [trigger.stamp(session.images) for trigger in session.triggers[:1]]
    return onnx_parity(session.sanitized, path, torch.cat([session.images, *stamped]))


def _half(result: AuditResult, device: str, parity: Parity | None) -> Half:
    verdict, verification, cost = result.verdict, result.verification, result.cost
    return Half(
        device=device, verdict=verdict.label if verdict else None,
        target_classes=verdict.target_classes if verdict else [], score=verdict.score if verdict else None,
        passed=verification.passed if verification else None,
        logit_difference=parity.max_abs_logit_difference if parity else None,
        parity_holds=parity.holds if parity else None, seconds=cost.seconds if cost else 0.0,
        images=cost.forward_images + cost.backward_images if cost else 0, stages=dict(result.run.seconds),
        exit_code=result.run.exit_code, error="; ".join(e.what for e in result.errors),
    )  # fmt: skip


def differences(cpu: Half, cuda: Half) -> list[str]:
    """What the devices disagree on, and whatever either failed at; empty when all is well."""
    found = [f"{half.device}: {half.error}" for half in (cpu, cuda) if half.error]
    for name in ("verdict", "target_classes", "passed", "exit_code"):
        ours, theirs = getattr(cpu, name), getattr(cuda, name)
        if ours != theirs:
            found.append(f"{name}: {ours} on the CPU, {theirs} on CUDA")
    if (cpu.score is None) != (cuda.score is None) or abs((cpu.score or 0) - (cuda.score or 0)) > SCORE_TOLERANCE:
        found.append(f"score: {cpu.score} on the CPU, {cuda.score} on CUDA")
    found += [f"{half.device}: the ONNX file says something else (logits differ by {half.logit_difference:.1e})"
              for half in (cpu, cuda) if half.parity_holds is False]  # fmt: skip
    return found


def show(cpu: Half, cuda: Half | None) -> str:
    """Both halves side by side as Markdown."""
    def both(name: str, value: Any) -> tuple[str, Any, Any]:
        return name, value(cpu), NOT_MEASURED if cuda is None else value(cuda)

    stages = [both(f"seconds, {name}", lambda h, n=name: f"{h.stages.get(n, 0.0):.1f}") for name in cpu.stages]
    return table(("", "CPU", "CUDA"), [
        both("verdict", lambda h: h.verdict), both("target classes", lambda h: h.target_classes),
        both("score", lambda h: h.score), both("sanitized model passed", lambda h: h.passed),
        both("largest logit difference to its ONNX",
             lambda h: None if h.logit_difference is None else f"{h.logit_difference:.1e}"),
        both("exit code", lambda h: h.exit_code), both("seconds", lambda h: f"{h.seconds:.1f}"), *stages,
        both("images passed", lambda h: h.images), both("images a second", lambda h: f"{h.images_per_second:.0f}"),
    ])  # fmt: skip


def check(request: Request, *, scan_only: bool, cuda: bool) -> tuple[Half, Half | None]:
    """Both halves, each in a run folder that is removed afterwards. The second is None without CUDA."""
    halves: list[Half] = []
    for device in ("cpu", "cuda")[: 2 if cuda else 1]:
        with tempfile.TemporaryDirectory() as folder:
            output = None if scan_only else str(Path(folder) / "run")
            asked = Request(**asdict(request) | {"device": device, "output": output})
            halves.append(run_half(asked, scan_only=scan_only))
    return halves[0], halves[1] if cuda else None


def main(argv: list[str] | None = None) -> int:
    """Run and compare; returns 0 when nothing disagrees (or CUDA is not there), 1 when it does, 2 on an error."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--model", type=Path, default=ROOT / "samples" / "suspect.pt")
    parser.add_argument("--clean", type=Path, default=ROOT / "samples" / "clean")
    parser.add_argument("--profile", choices=("quick", "standard", "deep"), default="standard")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="CPU threads (default: all that torch takes)")
    parser.add_argument("--scan-only", action="store_true", help="stop at the verdict: no unlearning")
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu_check.jsonl", metavar="FILE.jsonl")
    args = parser.parse_args(argv)
    cuda = torch.cuda.is_available()
    name = torch.cuda.get_device_name(0) if cuda else None
    print(f"torch {torch.__version__}, " + (f"CUDA: {name}" if cuda else f"no CUDA device: the CUDA half is {NOT_MEASURED}"))
    request = Request(model=str(args.model), clean=str(args.clean), profile=args.profile, seed=args.seed,
                      threads=args.threads)  # fmt: skip
    try:
        ours, theirs = check(request, scan_only=args.scan_only, cuda=cuda)
    except AuditorError as error:
        print(error, file=sys.stderr)
        return 2
    found = [ours.error] if ours.error else []
    found = found if theirs is None else differences(ours, theirs)
    append_row(args.out, {"model": args.model.name, "profile": args.profile, "seed": args.seed, "gpu": name, "cpu": asdict(ours),
                          "cuda": asdict(theirs) if theirs else None, "differences": found, "commit": commit()})  # fmt: skip
    print(show(ours, theirs))
    print("\n".join(["", *found]) if found else "\nNothing disagrees." if theirs else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
