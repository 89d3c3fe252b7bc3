"""A library that streams made-up events, for the command line to show."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import report_runs

from auditor.domain import AuditResult, ErrorRecord, Run, Tool, Verdict
from auditor.events import (
    CandidateFound,
    Control,
    Event,
    FileWritten,
    Notice,
    SearchStep,
    StageFinished,
    StageStarted,
    UnlearnStep,
    VerdictReached,
)
from auditor.request import Request

Stream = Generator[Event, None, AuditResult]


@dataclass
class FakeLibrary:
    """What `auditor.library.stream` was called with, and what it shall do."""

    result: AuditResult = field(default_factory=lambda: report_runs.badnets())
    events: list[Event] = field(default_factory=list)
    body: Callable[[Request, Control], Stream] | None = None
    calls: list[tuple[str, Request, Control]] = field(default_factory=list)

    def stream(self, verb: str, request: Request, control: Control) -> Stream:
        self.calls.append((verb, request, control))
        if self.body is not None:
            return (yield from self.body(request, control))
        yield from self.events
        return self.result

    @property
    def request(self) -> Request:
        return self.calls[-1][1]


def install(monkeypatch: pytest.MonkeyPatch) -> FakeLibrary:
    """Put a fake in the place of `auditor.library`."""
    fake = FakeLibrary()
    module: Any = types.ModuleType("auditor.library")
    module.stream = fake.stream
    monkeypatch.setitem(sys.modules, "auditor.library", module)
    return fake


def backdoored(**changes: Any) -> AuditResult:
    """A complete run: found, sanitized, passed."""
    return report_runs.badnets(**changes)


def ended(exit_code: int, **changes: Any) -> AuditResult:
    """A complete run with another exit code."""
    result = backdoored(**changes)
    return replace(result, run=replace(result.run, exit_code=exit_code))


def scanned(label: Any, exit_code: int, **changes: Any) -> AuditResult:
    """What `scan` returns: a verdict and nothing after it."""
    parts: dict[str, Any] = {"unlearning": None, "verification": None, "exports": [], "attention": None, "triggers": []}
    verdict = Verdict(label=label, score=0.1, reasons=["Nothing stands out."], untested=["Warping triggers"])
    return ended(exit_code, **{**parts, "verdict": verdict, **changes})


def failed(exit_code: int, what: str, next_step: str = "Do something else.") -> AuditResult:
    """A run that an error ended."""
    return AuditResult(
        schema_version="1.0",
        tool=Tool(name="auditor", version="0.1.0", python="3.11", torch="2.15.0", platform="Linux"),
        run=Run(argv=[], seed=0, device="cpu", dtype="float32", threads=1, profile="standard", started="",
                exit_code=exit_code),
        errors=[ErrorRecord(kind="input", what=what, next_step=next_step)],
    )  # fmt: skip


def typical_events() -> list[Event]:
    """A search, a verdict and an unlearning, two steps each."""
    return [
        StageStarted(stage="search", title="Searching for triggers"),
        Notice(message="Images were resized to 32 by 32."),
        Notice(message="Labels are the model's own predictions.", level="warning"),
        SearchStep(family="patch", step=1, steps=2, classes=[0, 1], loss=[1, 1], attack_success_rate=[0.2, 0.6],
                   cost=[None, None]),
        SearchStep(family="patch", step=2, steps=2, classes=[0, 1], loss=[1, 1], attack_success_rate=[0.98, 1.0],
                   cost=[70.0, 5.25]),
        CandidateFound(target_class=1, family="patch", cost=5.25, attack_success_rate=1.0, confirmed=True),
        StageFinished(stage="search", seconds=1.5, summary="1 candidate"),
        VerdictReached(verdict=Verdict(label="backdoored", score=0.9, target_classes=[1])),
        StageStarted(stage="unlearn", title="Unlearning"),
        UnlearnStep(method="prune", step=1, steps=1, clean_accuracy=0.9, proxy_attack_success_rate=0.03),
        StageFinished(stage="unlearn", seconds=2.0),
        FileWritten(path="report.html", what="the report"),
    ]  # fmt: skip
