"""Reading a pickle without running it: a symbolic evaluation of its opcodes.

Nothing is imported or called; the result is made of the nodes in `nodes.py`. What a real
unpickler would import is therefore known exactly, also through the memo.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import IO, Any

from . import names
from .nodes import Call, Map, Name, Pickle, Seq, Stored
from .refusal import Refusal, broken, unsafe

MAX_OPCODES = 4_000_000
# What torch's restricted unpickler reads; torch.save writes nothing else by default.
_TORCH_WRITES = (
    "GLOBAL NEWOBJ REDUCE BUILD APPEND APPENDS SETITEM SETITEMS MARK TUPLE TUPLE1 TUPLE2 TUPLE3 NONE NEWFALSE "
    "NEWTRUE EMPTY_DICT EMPTY_LIST EMPTY_SET EMPTY_TUPLE BININT BININT1 BININT2 BINFLOAT BINUNICODE "
    "SHORT_BINSTRING BINPERSID BINGET LONG_BINGET BINPUT LONG_BINPUT LONG1 PROTO STOP"
)
TORCH_OPCODES = frozenset(_TORCH_WRITES.split())
_ATOM_NAMES = (
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES "
    "BINBYTES8 BYTEARRAY8 UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 FLOAT BINFLOAT"
)
_ATOMS = frozenset(_ATOM_NAMES.split())
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


def read_pickle(stream: IO[bytes]) -> Pickle:
    """The pickle that starts at the stream's position; the stream is left after its end.

    Raises Refusal: unsafe when it imports from a module that acts (also when it breaks off
    later, for a real unpickler would have run by then), broken when it does not parse.
    """
    machine = _Machine()
    try:
        machine.run(stream)
        failure = None
    except Refusal as refusal:
        failure = refusal
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        failure = broken(f"The pickle in this file does not parse: {type(error).__name__} {str(error)[:120]}")
    acting = tuple(sorted(n.full for n, meaning in machine.result.names.items() if meaning == "dangerous"))
    if acting:
        shown = ", ".join(acting[:8])
        raise unsafe(f"Loading this file would use {shown}. It was not deserialized.", names=acting)
    if failure is not None:
        raise failure
    return machine.result


class _Machine:
    def __init__(self) -> None:
        self.result = Pickle()
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self, stream: IO[bytes]) -> None:
        for count, (opcode, arg, _) in enumerate(pickletools.genops(stream)):
            if count >= MAX_OPCODES:
                raise broken(f"The pickle in this file has more than {MAX_OPCODES:,} operations.")
            self.result.opcodes.add(opcode.name)
            self.step(opcode.name, arg)
        self.result.end = stream.tell()

    def step(self, name: str, arg: Any) -> None:
        if name in _ATOMS:
            self.stack.append(arg)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _STEPS:
            _STEPS[name](self, arg)
        else:
            raise broken(f"The pickle in this file uses the operation {name}, which torch.save never writes.")

    def to_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def import_name(self, module: Any, name: Any) -> Name:
        if not isinstance(module, str) or not isinstance(name, str):
            found = Name("?", "a name computed while loading")
            self.result.names[found] = "dangerous"
            return found
        found = Name(*names.canonical(module, name))
        if names.meaning(module, name) == "dangerous":
            self.result.names[found] = "dangerous"
        else:
            self.result.names.setdefault(found, names.meaning(module, name))
        return found

    def call(self, function: Any, args: Any) -> None:
        if isinstance(function, Stored):
            raise broken("The file is a whole network pickled as torch did before 1.6.", "Save its state_dict() again.")
        if not isinstance(function, Name):
            raise unsafe("The pickle in this file calls something that it computes while loading.")
        made = Call(function, args)
        self.result.calls.append(made)
        self.stack.append(made)


def _global(machine: _Machine, arg: Any) -> None:
    module, _, name = arg.partition(" ")
    machine.stack.append(machine.import_name(module, name if " " not in name else None))


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(machine.import_name(module, name))


def _inst(machine: _Machine, arg: Any) -> None:
    module, _, name = arg.partition(" ")
    args = tuple(machine.to_mark())
    machine.call(machine.import_name(module, name), args)


def _obj(machine: _Machine, _: Any) -> None:
    function, *args = machine.to_mark()
    machine.call(function, tuple(args))


def _reduce(machine: _Machine, _: Any) -> None:
    args, function = machine.stack.pop(), machine.stack.pop()
    machine.call(function, args)


def _newobj_ex(machine: _Machine, _: Any) -> None:
    machine.stack.pop()
    _reduce(machine, None)


def _build(machine: _Machine, _: Any) -> None:
    state, target = machine.stack.pop(), machine.stack[-1]
    if not isinstance(target, Call):
        raise broken(f"The pickle in this file sets the state of a {type(target).__name__}.")
    target.state, target.is_built = state, True


def _set_items(machine: _Machine, flat: list[Any]) -> None:
    target = machine.stack[-1]
    if not isinstance(target, Map | Call) or len(flat) % 2:
        raise broken(f"The pickle in this file sets items of a {type(target).__name__}.")
    target.pairs.extend(zip(flat[::2], flat[1::2], strict=True))


def _extend(machine: _Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    if not isinstance(target, Seq | Call):
        raise broken(f"The pickle in this file appends to a {type(target).__name__}.")
    target.items.extend(items)


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _set_items(machine, [key, value])


def _mark(machine: _Machine, _: Any) -> None:
    machine.marks.append(machine.stack)
    machine.stack = []


def _pop(machine: _Machine, _: Any) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.to_mark()


def _pop_mark(machine: _Machine, _: Any) -> None:
    machine.to_mark()


def _put(machine: _Machine, arg: Any) -> None:
    machine.memo[len(machine.memo) if arg is None else arg] = machine.stack[-1]


def _tuple_of(count: int) -> Callable[[_Machine, Any], None]:
    def step(machine: _Machine, _: Any) -> None:
        if len(machine.stack) < count:
            raise IndexError("stack underflow")
        machine.stack[-count:] = [tuple(machine.stack[-count:])]

    return step


def _stored(machine: _Machine, pid: Any) -> None:
    found = Stored(pid)
    machine.result.stored.append(found)
    machine.stack.append(found)


def _protocol(machine: _Machine, arg: Any) -> None:
    machine.result.protocol = arg


def _stop(machine: _Machine, _: Any) -> None:
    machine.result.value = machine.stack.pop()


def _push(make: Callable[[_Machine], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.stack.append(make(machine))


_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _protocol, "FRAME": lambda machine, _: None, "STOP": _stop, "MARK": _mark, "POP": _pop,
    "POP_MARK": _pop_mark, "DUP": _push(lambda m: m.stack[-1]),
    "EMPTY_DICT": _push(lambda m: Map()), "EMPTY_LIST": _push(lambda m: Seq()), "EMPTY_SET": _push(lambda m: Seq()),
    "DICT": lambda machine, _: _dict(machine), "LIST": lambda machine, _: _list(machine),
    "FROZENSET": lambda machine, _: _list(machine), "TUPLE": lambda machine, _: _tuple(machine),
    "TUPLE1": _tuple_of(1), "TUPLE2": _tuple_of(2), "TUPLE3": _tuple_of(3),
    "SETITEM": _set_item, "SETITEMS": lambda machine, _: _set_items(machine, machine.to_mark()),
    "APPEND": lambda machine, _: _extend(machine, [machine.stack.pop()]),
    "APPENDS": lambda machine, _: _extend(machine, machine.to_mark()),
    "ADDITEMS": lambda machine, _: _extend(machine, machine.to_mark()),
    "GLOBAL": _global, "STACK_GLOBAL": _stack_global, "INST": _inst, "OBJ": _obj, "REDUCE": _reduce,
    "NEWOBJ": _reduce, "NEWOBJ_EX": _newobj_ex, "BUILD": _build, "PUT": _put, "BINPUT": _put,
    "LONG_BINPUT": _put, "MEMOIZE": _put, "PERSID": _stored,
    "BINPERSID": lambda machine, _: _stored(machine, machine.stack.pop()),
    "GET": lambda machine, arg: machine.stack.append(machine.memo[arg]),
    "BINGET": lambda machine, arg: machine.stack.append(machine.memo[arg]),
    "LONG_BINGET": lambda machine, arg: machine.stack.append(machine.memo[arg]),
}  # fmt: skip


def _dict(machine: _Machine) -> None:
    flat = machine.to_mark()
    machine.stack.append(Map())
    _set_items(machine, flat)


def _list(machine: _Machine) -> None:
    items = machine.to_mark()
    machine.stack.append(Seq(items))


def _tuple(machine: _Machine) -> None:
    items = machine.to_mark()
    machine.stack.append(tuple(items))
