"""Results as values: exit codes, and JSON there and back."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from typing import Any

import numpy as np
import pytest

from auditor.domain import AuditResult, Interval, Rate, Verdict, exit_code
from auditor.plain import from_plain, to_json, to_plain


def filled(kind: Any) -> Any:
    """A value of a result type with no field left empty or None."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return filled(args[0])
    if origin is list:
        return [filled(args[0])] * 2
    if origin is dict:
        return {"a": filled(args[1]), "é": filled(args[1])}
    if origin is typing.Literal:
        return args[-1]
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{field.name: filled(hints[field.name]) for field in dataclasses.fields(kind)})
    return {str: "naïve \x1b\u2028", int: 7, float: 0.1, bool: True, Any: {"nested": [1, None]}}[kind]


def test_full_result_survives_json() -> None:
    result = filled(AuditResult)
    assert result.verification.tar["é"].mean == 0.1
    assert from_plain(AuditResult, json.loads(to_json(result))) == result


def test_empty_result_survives_json() -> None:
    full = filled(AuditResult)
    result = AuditResult(schema_version="1.0", tool=full.tool, run=full.run)
    plain = to_plain(result)
    assert plain["verdict"] is None and plain["triggers"] == []
    assert from_plain(AuditResult, plain) == result


def test_numbers_json_cannot_hold_become_null_and_numpy_becomes_plain() -> None:
    plain = to_plain({1: [math.nan, math.inf, np.float32(0.5), np.int64(3), np.float64("nan"), np.bool_(True)]})
    assert plain == {"1": [None, None, 0.5, 3, None, True]}
    assert [type(value) for value in plain["1"][2:4]] == [float, int]


def test_json_is_utf8_text_with_a_last_newline() -> None:
    text = to_json({"name": "é"})
    assert text == '{\n  "name": "é"\n}\n'


def test_array_in_a_result_is_refused_rather_than_written() -> None:
    with pytest.raises(TypeError):
        to_json({"mask": np.zeros(3)})


def test_unknown_keys_of_a_later_version_are_ignored() -> None:
    assert from_plain(Interval, {"mean": 1.0, "low": None, "high": None, "count": 2, "later": 5}) == Interval(
        mean=1.0, low=None, high=None, count=2
    )


def test_missing_keys_are_refused() -> None:
    with pytest.raises(TypeError):
        from_plain(Rate, {"hits": 1})


def verdict(label: Any) -> Verdict:
    return Verdict(label=label, score=None)


@pytest.mark.parametrize(
    ("found", "sanitized", "code"),
    [
        (None, False, 3),
        (None, True, 3),
        (verdict("inconclusive"), False, 3),
        (verdict("inconclusive"), True, 3),
        (verdict("no_evidence"), False, 0),
        (verdict("backdoored"), False, 1),
        (verdict("backdoored"), True, 0),
    ],
)
def test_exit_code(found: Verdict | None, sanitized: bool, code: int) -> None:
    assert exit_code(found, sanitized=sanitized) == code
