"""Reads the curves in `events.jsonl`, which nobody vouches for.

Lines that cannot be read are skipped: curves illustrate, no claim rests on them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auditor.report.reading import LARGEST_INTEGER, build
from auditor.report.text import scrub_tree

LARGEST_EVENTS_BYTES = 128 * 2**20
_READ = (b"SearchStep", b"UnlearnStep", b"VerdictReached", b"AttemptFinished")


@dataclass(frozen=True, kw_only=True)
class SearchCurve:
    """Cheapest cost over steps of one family's first search: class -> [(step, cost or None)]."""

    family: str
    costs: dict[int, list[tuple[int, float | None]]]


@dataclass(frozen=True, kw_only=True)
class UnlearnPoint:
    """One step of a method, as its event says; `heat_maps` names a file of the run folder."""

    method: str
    step: int
    clean_accuracy: float
    proxy_attack_success_rate: float
    tar: float | None = None
    tar_random: float | None = None
    losses: dict[str, float | None] = field(default_factory=dict)
    heat_maps: str | None = None


@dataclass(kw_only=True)
class UnlearnCurve:
    """One run of a method within an attempt, both counted from 1; `accepted` is None until the attempt was judged."""

    method: str
    points: list[UnlearnPoint]
    attempt: int = 1
    run: int = 1
    accepted: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Curves:
    searches: list[SearchCurve] = field(default_factory=list)
    attempts: list[UnlearnCurve] = field(default_factory=list)


@dataclass(frozen=True)
class _SearchStep:
    family: str
    step: int
    classes: list[int]
    cost: list[float | None]


@dataclass(frozen=True)
class _AttemptFinished:
    method: str
    accepted: bool


def read_curves(path: Path) -> Curves:
    """The search and unlearning curves in `events.jsonl`; empty when there is no usable file."""
    curves = Curves()
    is_searching = True
    last_step: dict[str, int] = {}
    for event in _event_lines(path):
        try:
            match event.get("event"):
                case "VerdictReached":
                    is_searching = False
                case "SearchStep" if is_searching:
                    _follow_search(curves.searches, build(_SearchStep, event, "event"), last_step)
                case "UnlearnStep":
                    _follow_attempt(curves.attempts, build(UnlearnPoint, event, "event"))
                case "AttemptFinished":
                    _judge(curves.attempts, build(_AttemptFinished, event, "event").accepted)
        except ValueError:
            continue
    return curves


def _event_lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_EVENTS_BYTES:
            return
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return
    for line in lines:
        if not any(name in line for name in _READ):
            continue
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            yield scrub_tree(event)


def _follow_search(searches: list[SearchCurve], now: _SearchStep, last_step: dict[str, int]) -> None:
    """Add a step to its family's curve. A step that goes back starts a confirmation run, which is not drawn."""
    if now.step < last_step.get(now.family, -1):
        last_step[now.family] = LARGEST_INTEGER
        return
    last_step[now.family] = now.step
    curve = next((c for c in searches if c.family == now.family), None)
    if curve is None:
        curve = SearchCurve(family=now.family, costs={})
        searches.append(curve)
    for target_class, cost in zip(now.classes, now.cost, strict=False):
        curve.costs.setdefault(target_class, []).append((now.step, cost))


def _follow_attempt(attempts: list[UnlearnCurve], now: UnlearnPoint) -> None:
    """Add a step to the run it continues; one of another method, or one that goes back, begins a new run."""
    last = attempts[-1] if attempts else None
    is_judged = last is not None and last.accepted is not None
    if last is None or is_judged or last.method != now.method or last.points[-1].step >= now.step:
        attempt = 1 if last is None else last.attempt + is_judged
        run = 1 if last is None or is_judged else last.run + 1
        last = UnlearnCurve(method=now.method, points=[], attempt=attempt, run=run)
        attempts.append(last)
    last.points.append(now)


def _judge(attempts: list[UnlearnCurve], accepted: bool) -> None:
    for curve in attempts:
        if curve.accepted is None:
            curve.accepted = accepted
