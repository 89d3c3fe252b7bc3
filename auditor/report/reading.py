"""Reads `result.json` and `events.jsonl` as data that nobody vouches for.

A run folder may arrive from someone else, so every leaf is checked against the type that
`auditor.domain` gives it before anything is drawn from it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auditor.domain import SCHEMA_VERSION, AuditResult
from auditor.errors import InputError, printable
from auditor.report.text import scrub_tree

LARGEST_RESULT_BYTES = 64 * 2**20
LARGEST_EVENTS_BYTES = 128 * 2**20
LARGEST_INTEGER = 2**63


@dataclass(frozen=True, kw_only=True)
class Source:
    """A parsed result and the sha256 of the bytes it was parsed from."""

    result: AuditResult
    sha256: str


@dataclass(frozen=True, kw_only=True)
class SearchCurve:
    """Cheapest cost over steps of one family's first search: class -> [(step, cost or None)]."""

    family: str
    costs: dict[int, list[tuple[int, float | None]]]


@dataclass(frozen=True, kw_only=True)
class UnlearnCurve:
    """One attempt of a method: (step, clean accuracy, proxy attack success rate, TAR or None)."""

    method: str
    steps: list[tuple[int, float, float, float | None]]


@dataclass(frozen=True, kw_only=True)
class Curves:
    searches: list[SearchCurve] = field(default_factory=list)
    attempts: list[UnlearnCurve] = field(default_factory=list)


def read_result(path: Path) -> Source:
    """The checked content of `result.json`.

    Raises InputError when it is missing, too large, not JSON, of another major schema version,
    or when a value is not of its field's type.
    """
    shown = printable(path)
    try:
        if not path.is_file():
            raise InputError(f"{shown} does not exist.", "Give the folder that `auditor audit -o` wrote.")
        if path.stat().st_size > LARGEST_RESULT_BYTES:
            raise InputError(f"{shown} is larger than {LARGEST_RESULT_BYTES} bytes.", "This is not an audit result.")
        content = path.read_bytes()
        plain = scrub_tree(json.loads(content))
        result = typing.cast(AuditResult, build(AuditResult, plain, "result"))
    except OSError as error:
        raise InputError(f"{shown} cannot be read: {error.strerror}", "Check the path and its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{shown} is not an audit result: {error}", "Run the audit again.") from error
    if result.schema_version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
        raise InputError(
            f"{shown} has schema version {result.schema_version}; this tool reads {SCHEMA_VERSION}.",
            "Render it with the version of auditor that wrote it.",
        )
    return Source(result=result, sha256=hashlib.sha256(content).hexdigest())


def build(kind: Any, value: Any, where: str) -> Any:
    """A value of type `kind` from its JSON form, each leaf checked; unknown keys are ignored.

    Raises ValueError naming `where` when something is missing or of the wrong type.
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        inner = next(arg for arg in args if arg is not type(None))
        return None if value is None else build(inner, value, where)
    if origin is typing.Literal:
        return _expect(value, isinstance(value, str) and value in args, where, " or ".join(args))
    if origin is list:
        _expect(value, isinstance(value, list), where, "a list")
        return [build(args[0], item, f"{where}[{i}]") for i, item in enumerate(value)]
    if origin is dict:
        _expect(value, isinstance(value, dict), where, "an object")
        return {key: build(args[1], item, f"{where}.{key[:40]}") for key, item in value.items()}
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    return _build_leaf(kind, value, where)


def _build_dataclass(kind: Any, value: Any, where: str) -> Any:
    _expect(value, isinstance(value, dict), where, "an object")
    hints = typing.get_type_hints(kind)
    found = {}
    for f in dataclasses.fields(kind):
        if f.name in value:
            found[f.name] = build(hints[f.name], value[f.name], f"{where}.{f.name}")
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where}.{f.name} is missing")
    return kind(**found)


def _build_leaf(kind: Any, value: Any, where: str) -> Any:
    if kind is bool:
        return _expect(value, isinstance(value, bool), where, "true or false")
    if kind is str:
        return _expect(value, isinstance(value, str), where, "text")
    is_integer = isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST_INTEGER
    if kind is int:
        return _expect(value, is_integer, where, "an integer")
    if kind is float:
        is_number = is_integer or (isinstance(value, float) and math.isfinite(value))
        return float(_expect(value, is_number, where, "a finite number"))
    raise ValueError(f"{where} has a type this report cannot read")


def _expect(value: Any, holds: bool, where: str, what: str) -> Any:
    if not holds:
        raise ValueError(f"{where} is not {what}")
    return value


def read_curves(path: Path) -> Curves:
    """The search and unlearning curves in `events.jsonl`; empty when there is no usable file.

    Lines that cannot be read are skipped: curves illustrate, no claim rests on them.
    """
    curves = Curves()
    is_searching = True
    last_step: dict[str, int] = {}
    for event in _event_lines(path):
        match event.get("event"):
            case "VerdictReached":
                is_searching = False
            case "SearchStep" if is_searching:
                _follow_search(curves.searches, event, last_step)
            case "UnlearnStep":
                _follow_attempt(curves.attempts, event)
    return curves


def _event_lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_EVENTS_BYTES:
            return
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return
    for line in lines:
        if b"SearchStep" not in line and b"UnlearnStep" not in line and b"VerdictReached" not in line:
            continue
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            yield scrub_tree(event)


@dataclass(frozen=True)
class _SearchStep:
    family: str
    step: int
    classes: list[int]
    cost: list[float | None]


@dataclass(frozen=True)
class _UnlearnStep:
    method: str
    step: int
    clean_accuracy: float
    proxy_attack_success_rate: float
    tar: float | None = None


def _follow_search(searches: list[SearchCurve], event: dict[str, Any], last_step: dict[str, int]) -> None:
    """Add a step to its family's curve. A step that goes back starts a confirmation run, which is not drawn."""
    try:
        now: _SearchStep = build(_SearchStep, event, "event")
    except ValueError:
        return
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


def _follow_attempt(attempts: list[UnlearnCurve], event: dict[str, Any]) -> None:
    try:
        now: _UnlearnStep = build(_UnlearnStep, event, "event")
    except ValueError:
        return
    is_new = not attempts or attempts[-1].method != now.method or attempts[-1].steps[-1][0] >= now.step
    if is_new:
        attempts.append(UnlearnCurve(method=now.method, steps=[]))
    attempts[-1].steps.append((now.step, now.clean_accuracy, now.proxy_attack_success_rate, now.tar))
