"""Inert stand-ins for the classes a pickle names, so that none of them is imported."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Literal

from .nodes import Pickle

StubKind = Literal["object", "mapping", "list", "reconstructor"]


class Stub:
    """Takes any arguments and any state, keeps both, and does nothing.

    `fields` holds what the real object's attributes would have been.
    """

    qualified_name = ""
    args: tuple[Any, ...]
    fields: dict[str, Any]

    def __new__(cls, *args: Any, **_: Any) -> Any:
        stub = object.__new__(cls)
        stub.args, stub.fields = args, {}
        return stub

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
        for part in parts:
            if isinstance(part, dict):
                self.fields.update((key, value) for key, value in part.items() if isinstance(key, str))


class _MappingStub(Stub):
    # torch's unpickler sets items of its own mappings only, so the stand-in is one.
    def __new__(cls, *_: Any, **__: Any) -> Any:
        return OrderedDict()


class _ListStub(Stub):
    def __new__(cls, *_: Any, **__: Any) -> Any:
        return []


class _Reconstructor(Stub):
    """Stands for copyreg._reconstructor(cls, base, state)."""

    def __new__(cls, *args: Any, **__: Any) -> Any:
        target = args[0] if args and isinstance(args[0], type) and issubclass(args[0], Stub) else Stub
        return target.__new__(target)


_BASES: dict[StubKind, type[Stub]] = {
    "object": Stub,
    "mapping": _MappingStub,
    "list": _ListStub,
    "reconstructor": _Reconstructor,
}


def stub_kinds(pickle: Pickle) -> dict[str, StubKind]:
    """Which names of the pickle need a stub, and what the pickle does to its instances."""
    kinds: dict[str, StubKind] = {
        name.full: "reconstructor" if name.full == "copyreg._reconstructor" else "object"
        for name, meaning in pickle.names.items()
        if meaning == "stub"
    }
    for call in pickle.calls:
        if call.function.full in kinds and (call.pairs or call.items):
            kinds[call.function.full] = "mapping" if call.pairs else "list"
    return kinds


def make_stub(name: str, kind: StubKind) -> type[Stub]:
    """A class of its own for one name, so that torch can tell the stubs apart."""
    return type("Stub", (_BASES[kind],), {"qualified_name": name})
