"""What a pickle denotes, as plain nodes: nothing in them is imported, called or hashed.

A name stays a `Name`, a call a `Call`, a storage reference a `Stored`; containers hold pairs
and items.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from . import names


@dataclass(frozen=True, slots=True)
class Name:
    """A name the pickle refers to, in its canonical spelling."""

    module: str
    name: str

    @property
    def full(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False, slots=True)
class Map:
    pairs: list[tuple[Any, Any]] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Seq:
    items: list[Any] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Stored:
    """A persistent id: how torch refers to a storage outside the pickle."""

    pid: Any


@dataclass(eq=False, slots=True)
class Call:
    """What calling `function` with `args` would have given, and what was then put into it."""

    function: Name
    args: Any
    state: Any = None
    is_built: bool = False
    pairs: list[tuple[Any, Any]] = field(default_factory=list)
    items: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class Pickle:
    """One pickle as read: its value, the names it imports, and where it ended."""

    value: Any = None
    end: int = 0
    protocol: int = 0
    names: dict[Name, names.Meaning] = field(default_factory=dict)
    opcodes: set[str] = field(default_factory=set)
    calls: list[Call] = field(default_factory=list)
    stored: list[Stored] = field(default_factory=list)
