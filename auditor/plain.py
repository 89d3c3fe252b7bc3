"""Between results and the plain values of JSON, both ways."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from typing import Any

import numpy as np


def to_plain(value: Any) -> Any:
    """Turn a result into JSON-ready values; NaN and infinities become None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def to_json(result: Any) -> str:
    """The canonical text of a result: two-space indent, UTF-8, no NaN."""
    return json.dumps(to_plain(result), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def from_plain(kind: Any, value: Any) -> Any:
    """Rebuild a value of type `kind` from what `to_plain` made of it.

    Raises TypeError or KeyError when the value does not have that shape.
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return from_plain(next(arg for arg in args if arg is not type(None)), value)
    if origin is list:
        return [from_plain(args[0], item) for item in value]
    if origin is dict:
        return {key: from_plain(args[1], item) for key, item in value.items()}
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        known = {f.name for f in dataclasses.fields(kind)}
        return typing.cast(Any, kind)(**{k: from_plain(hints[k], v) for k, v in value.items() if k in known})
    return value
