"""One audit in work: what was asked, what is known so far, and where it is written down."""

from __future__ import annotations

import platform
import resource
import sys
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auditor import __version__
from auditor.adversarial import has_bfloat16
from auditor.domain import SCHEMA_VERSION, AuditResult, Cost, ErrorRecord, Run, Tool, TriggerFinding, Verification
from auditor.errors import AuditorError, DeviceError, InputError
from auditor.events import Control, Event, Notice, StageFinished, StageStarted
from auditor.images import CleanImages, Split
from auditor.metrics import attack_success_rate
from auditor.request import Request
from auditor.runs import RunFolder
from auditor.search.shortlist import classes_to_search
from auditor.suspect import Suspect
from auditor.triggers import Trigger

Steps = Generator[Event, None, Any]
WORKING_RATE = 0.5


@dataclass(eq=False)
class Session:
    """What the stages share. Every stage reads it and adds its part to `result`.

    `images` (N, C, H, W) in [0, 1] and `labels` (N,) are the network's input; `work`, `fit`,
    `hold` index them: detection searches on `fit` and confirms on `hold`, both of `work`.
    `classes` are those that detection searched, `conversions` what was done to fit the images.
    """

    request: Request
    control: Control
    result: AuditResult
    run: RunFolder | None = None
    started: float = field(default_factory=time.monotonic)
    suspect: Suspect | None = None
    keys: dict[str, str] = field(default_factory=dict)
    clean: CleanImages | None = None
    conversions: list[str] = field(default_factory=list)
    images: Tensor = field(default_factory=lambda: torch.zeros(0))
    labels: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    split: Split | None = None
    fit: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    hold: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    classes: list[int] = field(default_factory=list)
    triggers: list[Trigger] = field(default_factory=list)
    sanitized: Suspect | None = None
    pending: Verification | None = None

    @property
    def model(self) -> Suspect:
        """The suspect, once opened."""
        if self.suspect is None:
            raise AuditorError("The model is not open yet.", "Open it first.")
        return self.suspect

    @property
    def class_names(self) -> Sequence[str]:
        return self.clean.class_names if self.clean is not None else []

    def update(self, **parts: Any) -> None:
        """Add parts to the result."""
        self.result = replace(self.result, **parts)

    def take_trigger(self, trigger: Trigger) -> None:
        """Take a trigger that the user handed over for a confirmed one, and say how well it works.

        Raises InputError when it does not: there is nothing to unlearn, and no removal to show.
        """
        indices = as_indices(self.split.work) if self.split else self.fit
        indices = indices[trigger.affects(self.labels[indices])]
        predicted = self.model.predict(trigger.stamp(self.images[indices]))
        rate = attack_success_rate(predicted, self.labels[indices].numpy(), trigger.target_class)
        if (rate.rate or 0.0) < WORKING_RATE:
            raise InputError(
                f"The trigger handed over flips only {rate.hits} of {rate.total} images to class {trigger.target_class}.",
                "It does not work on this model; check the file, or leave --trigger out to have one searched for.",
            )
        self.limit("The trigger was handed over, not searched for; its success rate is measured on work images.")
        name = "evidence/trigger_0.npz"
        if self.run is not None:
            trigger.save(self.run.target(name))
        finding = TriggerFinding(
            target_class=trigger.target_class, family=trigger.family, cost=0.0, attack_success_rate=rate,
            confirmed=True, source_classes=trigger.source_classes, evidence=name if self.run else "",
        )  # fmt: skip
        self.triggers = [trigger]
        self.classes = classes_to_search(self.model.num_classes, None, [trigger.target_class], self.request.seed)
        self.update(triggers=[finding])

    def limit(self, *sentences: str) -> None:
        """Say what the result cannot claim, once each."""
        new = [s for s in sentences if s not in self.result.limits]
        self.update(limits=[*self.result.limits, *new])

    def fail(self, error: AuditorError) -> None:
        """Record an error; its exit code stands for the whole run."""
        record = ErrorRecord(kind=error.kind, what=error.what, next_step=error.next_step)
        self.update(errors=[*self.result.errors, record])
        self.finish(error.exit_code)

    def finish(self, exit_code: int) -> None:
        """Fill in what is known at the end: cost and exit code."""
        self.update(run=replace(self.result.run, exit_code=exit_code), cost=self._cost())

    def _cost(self) -> Cost | None:
        if self.suspect is None:
            return None
        meter = self.suspect.meter
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        if self.suspect.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self.suspect.device)
        return Cost(
            seconds=time.monotonic() - self.started, forward_images=meter.forward_images,
            backward_images=meter.backward_images, flops=flops_per_image(self.suspect) * (
                meter.forward_images + meter.backward_images), peak_memory_bytes=peak,
        )  # fmt: skip


def stage(session: Session, name: str, title: str, body: Steps, steps: int | None = None) -> Steps:
    """Run a stage between its start and finish events, and note its seconds; returns its result."""
    began = time.monotonic()
    yield StageStarted(stage=name, title=title, steps=steps)
    session.control.stop_requested  # noqa: B018  (raises when cancelled)
    outcome = yield from body
    seconds = time.monotonic() - began
    run = session.result.run
    spent = run.seconds | {name: run.seconds.get(name, 0.0) + seconds}
    session.update(run=replace(run, seconds=spent))
    yield StageFinished(stage=name, seconds=seconds)
    return outcome


def say_time(session: Session, doing: str) -> Steps:
    """Say so, and add it to the limits, when the time is up."""
    if session.control.out_of_time:
        session.limit(f"The time budget was exhausted while {doing}.")
        yield Notice(message=f"The time budget was exhausted while {doing}.", level="warning")


def new_result(request: Request, device: str) -> AuditResult:
    """The empty result of a request: what ran, where and how."""
    tool = Tool(name="auditor", version=__version__, python=platform.python_version(), torch=str(torch.__version__),
                platform=platform.platform(terse=True))  # fmt: skip
    kind = "cuda" if device.startswith("cuda") else "cpu"
    run = Run(
        argv=request.argv, seed=request.seed, device=device,
        dtype="search in bfloat16, measured in float32" if has_bfloat16(kind) else "float32",
        threads=torch.get_num_threads(), profile=request.profile,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
    return AuditResult(schema_version=SCHEMA_VERSION, tool=tool, run=run, reproduce=reproduce(request))


def reproduce(request: Request) -> str:
    """The command that repeats the run."""
    import shlex

    return shlex.join(request.argv)


def choose_device(name: str) -> str:
    """The device to use. Raises DeviceError when CUDA was asked for and is not there."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError("CUDA was asked for, but no CUDA device is available.", "Use --device cpu or auto.")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"The device {name!r} cannot be used.", "Use --device auto, cpu, cuda or cuda:N.") from error
    return str(device)


def configure(request: Request) -> None:
    """Threads, and arithmetic that gives the same numbers twice."""
    if request.threads:
        torch.set_num_threads(request.threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False


def flops_per_image(suspect: Suspect) -> int:
    """Floating-point operations of one image forward (two for each multiply-add)."""
    from torch.utils.flop_counter import FlopCounterMode

    image = torch.zeros(1, *suspect.input_shape, device=suspect.device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        suspect.module(suspect.normalize(image))
    return int(counter.get_total_flops())


def evenly(indices: Tensor, labels: Tensor, most: int) -> Tensor:
    """At most so many of the `indices` into `labels`, as even over the classes as they are."""
    if len(indices) <= most:
        return indices
    by_class = indices[torch.argsort(labels[indices], stable=True)]
    return by_class[torch.linspace(0, len(by_class) - 1, most).round().long()]


def as_indices(indices: Any) -> Tensor:
    """An index array as a tensor."""
    return torch.from_numpy(np.asarray(indices, dtype=np.int64))
