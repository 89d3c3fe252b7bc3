"""A method's hyper-parameters by name: what they are, and how they are read from text and put in place."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from auditor.errors import UsageError, printable
from auditor.unlearn.method import Method

_FIXED = ("name", "is_reconstruction")
_TRUE, _FALSE = ("yes", "true", "on", "1"), ("no", "false", "off", "0")
_NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One field of a method: its name, its type and the method's own value."""

    name: str
    kind: Any
    default: Any

    @property
    def choices(self) -> tuple[str, ...]:
        """The values a person picks from; empty where any of the type will do."""
        if typing.get_origin(self.kind) is typing.Literal:
            return tuple(str(choice) for choice in typing.get_args(self.kind))
        return ("yes", "no") if self.kind is bool else ()

    def read(self, value: Any) -> Any:
        """The value, or the text of one, as the field's type.

        Numbers are finite, and not below zero where the method's own value is not. Raises UsageError.
        """
        try:
            found = _read(self.kind, value)
        except (ValueError, TypeError, OverflowError):
            raise self._refuse(value) from None
        if _lowest(found) < 0 <= _lowest(self.default):
            raise self._refuse(value)
        return found

    def _refuse(self, value: Any) -> UsageError:
        shown = printable(value, 40)
        return UsageError(f"{self.name} is {describe(self)}, not {shown!r}.", f"Its value is {to_text(self.default)} otherwise.")


def parameters_of(method: Method) -> list[Parameter]:
    """The hyper-parameters of a method, in the order of its fields."""
    hints = typing.get_type_hints(type(method))
    fields = dataclasses.fields(method)  # type: ignore[arg-type]
    return [Parameter(name=f.name, kind=hints[f.name], default=getattr(method, f.name))
            for f in fields if f.name not in _FIXED]  # fmt: skip


def with_settings(method: Method, settings: Mapping[str, Any]) -> Method:
    """The method with these values in the place of its own. Raises UsageError."""
    known = {parameter.name: parameter for parameter in parameters_of(method)}
    if unknown := sorted(set(settings) - set(known)):
        raise UsageError(f"{method.name} has no setting {printable(unknown[0], 40)!r}.", f"It has {', '.join(known)}.")
    values = {name: known[name].read(value) for name, value in settings.items()}
    return dataclasses.replace(method, **values)  # type: ignore[type-var]


def to_text(value: Any) -> str:
    """A value as the text that `Parameter.read` takes back."""
    match value:
        case None:
            return _NONE
        case bool():
            return "yes" if value else "no"
        case tuple():
            return ", ".join(to_text(item) for item in value)
        case float():
            return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)


def describe(parameter: Parameter) -> str:
    """What a parameter takes, in words to follow "is"."""
    if parameter.choices:
        return " or ".join(parameter.choices)
    return _words(parameter.kind, parameter.default)


def _words(kind: Any, default: Any) -> str:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return f"{_words(next(a for a in args if a is not type(None)), default)} or {_NONE}"
    if origin is tuple:
        word = "whole numbers" if args[0] is int else "numbers"
        return f"{word} with commas" if args[-1] is Ellipsis else f"{len(args)} {word} with a comma"
    sign = " from 0" if default is not None and _lowest(default) >= 0 else ""
    return {int: f"a whole number{sign}", float: f"a number{sign}"}.get(kind, "text")


def _read(kind: Any, value: Any) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None or str(value).strip().lower() in ("", _NONE):
            return None
        return _read(next(a for a in args if a is not type(None)), value)
    if origin is tuple:
        return _read_tuple(args, value)
    if origin is typing.Literal:
        return next((choice for choice in args if str(choice) == str(value).strip()), None) or _fail()
    if kind is bool:
        word = str(value).strip().lower()
        return word in _TRUE if word in (*_TRUE, *_FALSE) else _fail()
    if kind is int:
        return int(value) if isinstance(value, str) or (value == int(value) and not isinstance(value, bool)) else _fail()
    if kind is float:
        number = _fail() if isinstance(value, bool) else float(value)
        return number if math.isfinite(number) else _fail()
    return str(value)


def _read_tuple(args: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    parts = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else list(value)
    kinds = [args[0]] * len(parts) if args[-1] is Ellipsis else list(args)
    if not parts or len(parts) != len(kinds):
        _fail()
    return tuple(_read(kind, part) for kind, part in zip(kinds, parts, strict=True))


def _fail() -> NoReturn:
    raise ValueError


def _lowest(value: Any) -> float:
    """The least number in a value; 0 where it holds none."""
    if isinstance(value, tuple):
        return min(map(_lowest, value), default=0.0)
    return float(value) if isinstance(value, int | float) else 0.0
