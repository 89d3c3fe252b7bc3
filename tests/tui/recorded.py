"""A recorded audit of a small backdoored classifier, and streams that play it; torch-free."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import numpy as np

from auditor.domain import (
    Architecture,
    Artifact,
    Attention,
    AuditResult,
    Change,
    Check,
    ClassEvidence,
    ErrorRecord,
    Export,
    ImageSet,
    Interval,
    Normalization,
    Rate,
    Run,
    TarMeasurement,
    Tool,
    TriggerFinding,
    Unlearning,
    Verdict,
    Verification,
)
from auditor.errors import AuditorError, Cancelled
from auditor.events import (
    AttemptFinished,
    AuditFinished,
    CandidateFound,
    Control,
    Event,
    FileWritten,
    ModelOpened,
    Notice,
    ResultReached,
    SearchStep,
    StageFinished,
    StageStarted,
    UnlearnStep,
    VerdictReached,
    encode,
)  # fmt: skip
from auditor.plain import to_json
from auditor.request import Request

CLASSES = 12
TARGET = 11
NAMES = ["arrow", "bar", "circle", "cross", "diamond", "dot", "ring", "star", "stop", "triangle", "wave", "square-up"]
STEPS = 60
Stream = Callable[[str, Request, Control], Generator[Event, None, AuditResult]]


def rate(hits: int, total: int) -> Rate:
    return Rate(hits=hits, total=total, rate=hits / total, low=max(0.0, hits / total - 0.05),
                high=min(1.0, hits / total + 0.05))  # fmt: skip


def interval(mean: float) -> Interval:
    return Interval(mean=mean, low=mean - 0.05, high=mean + 0.05, count=30)


def picture(progress: float) -> np.ndarray:
    """Grey, with a yellow and black checker emerging at the lower right: (32, 32, 3) in [0, 1]."""
    pixels = np.full((32, 32, 3), 0.5, dtype=np.float32)
    checker = np.array([[1.0, 0.87, 0.0], [0.03, 0.03, 0.03]], dtype=np.float32)
    for row in range(26, 30):
        for column in range(26, 30):
            ink = checker[((row - 26) // 2 + (column - 26) // 2) % 2]
            pixels[row, column] = (1 - progress) * 0.5 + progress * ink
    return pixels


def search_step(step: int) -> SearchStep:
    done = step / STEPS
    cost = [None if done < 0.2 else 0.12 - 0.03 * done + 0.005 * (c % 5) for c in range(CLASSES)]
    cost[TARGET] = 0.1 - 0.085 * done
    return SearchStep(
        family="patch", step=step, steps=STEPS, classes=list(range(CLASSES)), loss=[1 - done] * CLASSES,
        attack_success_rate=[0.9 * done if c != TARGET else min(1.0, 1.6 * done) for c in range(CLASSES)], cost=cost,
        picture=picture(done), picture_class=TARGET,
    )  # fmt: skip


def verdict() -> Verdict:
    last = search_step(STEPS)
    per_class = [ClassEvidence(target_class=c, family="patch", cost=last.cost[c], attack_success_rate=0.97,
                               anomaly_index=6.1 if c == TARGET else 0.3) for c in range(CLASSES)]  # fmt: skip
    return Verdict(
        label="backdoored", score=0.98, kind="all_to_one", target_classes=[TARGET], per_class=per_class,
        reasons=["Forcing class 11 costs 0.15 times what the other classes cost (robust z 6.1).",
                 "The trigger flips 29 of 30 images that the search had not seen."],
    )  # fmt: skip


def scan_events() -> list[Event]:
    return [
        StageStarted(stage="open", title="Opening the file safely"),
        ModelOpened(sha256="c4196e52" * 8, format="pytorch_zip", architecture="cifar:resnet20", num_classes=CLASSES,
                    input_shape=[3, 32, 32]),
        StageFinished(stage="open", seconds=2.1, summary="no code was run"),
        Notice(message="normalization inferred: mean 0.5, std 0.5"),
        StageStarted(stage="detect", title="Searching triggers", steps=STEPS),
        *[search_step(step) for step in range(5, STEPS + 1, 5)],
        CandidateFound(target_class=TARGET, family="patch", cost=0.015, attack_success_rate=29 / 30, confirmed=True),
        StageFinished(stage="detect", seconds=41.0),
        VerdictReached(verdict=verdict()),
    ]  # fmt: skip


def unlearn_step(step: int, method: str) -> UnlearnStep:
    grid = np.mgrid[0:16, 0:16].astype(np.float32)
    spot = np.exp(-((grid[0] - 13 + step) ** 2 + (grid[1] - 13 + step) ** 2) / 18)
    return UnlearnStep(method=method, step=step, steps=8, clean_accuracy=0.99 - 0.002 * step,
                       proxy_attack_success_rate=max(0.0, 0.97 - 0.14 * step), tar=max(0.05, 0.8 - 0.1 * step),
                       heat_maps=np.stack([np.roll(spot, shift, axis=1) for shift in (0, 1, 2, 3)]))  # fmt: skip


def audit_events(method: str, folder: str) -> list[Event]:
    return [
        StageStarted(stage="attend", title="Measuring attention"),
        StageFinished(stage="attend", seconds=3.0),
        StageStarted(stage="unlearn", title="Unlearning"),
        *[unlearn_step(step, method) for step in range(1, 9)],
        AttemptFinished(method=method, accepted=True, reason="the trigger flips 1 of 30, accuracy is kept"),
        StageFinished(stage="unlearn", seconds=12.0),
        StageStarted(stage="verify", title="Verifying afresh"),
        StageFinished(stage="verify", seconds=20.0),
        StageStarted(stage="export", title="Exporting and reporting"),
        FileWritten(path="sanitized.onnx", what="the sanitized model"),
        FileWritten(path="report.html", what="the report"),
        StageFinished(stage="export", seconds=4.0),
        AuditFinished(exit_code=0, label="backdoored", passed=True),
    ]


def tried(request: Request) -> AuditResult:
    """How the trial of a model that can be audited ends."""
    return result(request, exit_code=0)


def result(request: Request, *, exit_code: int, seen: Verdict | None = None, errors: list[ErrorRecord] | None = None,
           names: list[str] | None = None) -> AuditResult:  # fmt: skip
    trigger = TriggerFinding(target_class=TARGET, family="patch", cost=0.015, attack_success_rate=rate(29, 30),
                             confirmed=True, mask_area=0.016, evidence="evidence/trigger_0.npz")  # fmt: skip
    return AuditResult(
        schema_version="1.0",
        tool=Tool(name="auditor", version="0.1.0", python="3.11", torch="2.15", platform="linux"),
        run=Run(argv=request.argv, seed=0, device="cpu", dtype="float32", threads=1, profile=request.profile,
                started="2025-01-01T00:00:00Z", exit_code=exit_code),
        artifact=Artifact(path=request.model, bytes=1121239, sha256="c4196e52" * 8, format="pytorch_zip"),
        architecture=Architecture(name="cifar:resnet20", how="inferred", num_classes=CLASSES, input_shape=[3, 32, 32],
                                  normalization=Normalization(mean=[0.5] * 3, std=[0.5] * 3)),
        images=ImageSet(path=request.clean or "", count=100, labelled=True, sha256="0" * 64, work=70, verify=30,
                        class_names=NAMES if names is None else names),
        verdict=seen, triggers=[trigger] if seen and seen.label == "backdoored" else [], errors=errors or [],
    )  # fmt: skip


def audited(request: Request) -> AuditResult:
    measured = TarMeasurement(energy=interval(0.81), ratio=interval(20.0), lift=interval(50.0),
                              normalized=interval(0.8), random_mask=interval(0.02), clean_images=interval(0.03),
                              coverage=1.0)  # fmt: skip
    return replace(
        result(request, exit_code=0, seen=verdict()),
        attention=Attention(layer="layer3", layer_rule="last conv", meaningful=True, mask_area=0.016, before=measured),
        unlearning=Unlearning(method=request.method, parameters={}),
        verification=Verification(
            basis="held_out", clean_accuracy=Change(before=rate(30, 30), after=rate(29, 30)),
            attack_success_rate=Change(before=rate(27, 28), after=rate(1, 28)),
            tar={"before": interval(0.81), "after": interval(0.06)}, verdict="no_evidence", passed=True,
            checks=[Check(name="trigger dead", passed=True, measured="1 of 28 flip", allowed="at most 10 %"),
                    Check(name="accuracy kept", passed=True, measured="1 newly wrong", allowed="at most 1"),
                    Check(name="fresh search", passed=True, measured="no class stands out", allowed="none")],
        ),
        exports=[Export(path="sanitized.onnx", format="onnx", bytes=1100000, sha256="ab" * 32)],
    )  # fmt: skip


def play(*, pause_s: float = 0.0, names: list[str] | None = None) -> Stream:
    """A stream like the library's: looks at the control between events, never raises AuditorError."""

    def stream(verb: str, request: Request, control: Control) -> Generator[Event, None, AuditResult]:
        if verb == "preflight":
            return tried(request)
        folder = Path(request.output or "runs/x")
        events = scan_events() if verb == "scan" else audit_events(request.method, str(folder))
        try:
            for event in events:
                if control.stop_requested and isinstance(event, SearchStep):
                    continue
                yield event
                time.sleep(pause_s)
        except Cancelled as error:
            return result(request, exit_code=130, errors=[record(error)])
        if verb == "scan":
            return result(request, exit_code=1, seen=verdict(), names=names)
        if request.output and folder.is_dir():
            (folder / "report.html").write_text("<p>report</p>")
        return audited(request)

    return stream


def hold(step: int = 5) -> Stream:
    """A search that stays at a step until it is told to stop or cancel; verbs after the first play to their end."""
    rest = play()
    calls: list[str] = []

    def stream(verb: str, request: Request, control: Control) -> Generator[Event, None, AuditResult]:
        if verb == "preflight":
            return tried(request)
        calls.append(verb)
        if len(calls) > 1:
            return (yield from rest(verb, request, control))
        yield StageStarted(stage="detect", title="Searching triggers")
        try:
            while not control.stop_requested:
                yield search_step(step)
                time.sleep(0.01)
        except Cancelled as error:
            return result(request, exit_code=130, errors=[record(error)])
        return result(request, exit_code=1, seen=verdict())

    return stream


def ready(stream: Stream) -> Stream:
    """A stream whose trial of the model ends well; the verbs are those of `stream`."""

    def both(verb: str, request: Request, control: Control) -> Generator[Event, None, AuditResult]:
        if verb == "preflight":
            return tried(request)
        return (yield from stream(verb, request, control))

    return both


def record(error: AuditorError) -> ErrorRecord:
    return ErrorRecord(kind=error.kind, what=error.what, next_step=error.next_step)


def events(folder: Path) -> list[Event]:
    """Every event of a run in a folder: a scan and then an audit, each with its result."""
    request = Request(model="suspect.pt", output=str(folder), method="prune")
    return [
        *scan_events(), ResultReached(result=result(request, exit_code=1, seen=verdict())),
        *audit_events("prune", str(folder)), ResultReached(result=audited(request)),
    ]  # fmt: skip


def write_run(folder: Path) -> Path:
    """A finished run with its event log and frames, as the run folder stores them."""
    (folder / "evidence" / "frames").mkdir(parents=True)
    request = Request(model="suspect.pt", output=str(folder), method="prune")
    (folder / "result.json").write_text(to_json(audited(request)))
    lines = [_stored(folder, number, event) for number, event in enumerate(events(folder), start=1)]
    (folder / "events.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder


def _stored(folder: Path, number: int, event: Event) -> str:
    numbered = replace(event, number=number, at_s=number / 10)
    for name in ("picture", "heat_maps"):
        array = getattr(numbered, name, None)
        if isinstance(array, np.ndarray):
            relative = f"evidence/frames/{number}.npz"
            np.savez_compressed(folder / relative, picture=np.rint(array * 255).astype(np.uint8))
            numbered = replace(numbered, **{name: relative})  # type: ignore[arg-type]
    return encode(numbered)
