"""Reads `result.json` as data that nobody vouches for.

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor.domain import SCHEMA_VERSION, AuditResult
from auditor.errors import InputError, printable
from auditor.report.text import scrub_tree

LARGEST_RESULT_BYTES = 64 * 2**20
LARGEST_INTEGER = 2**63


@dataclass(frozen=True, kw_only=True)
class Source:
    """A parsed result and the sha256 of the bytes it was parsed from."""

    result: AuditResult
    sha256: str


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
