"""What the tensors in a pickle claim, checked against the storages that are really there.

Done before torch sees the file: torch would enlarge a storage to fit a tensor's claim, and
a tensor of stride zero may claim any size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from . import names
from .nodes import Call, Name, Pickle, Stored
from .refusal import broken

MAX_DIMS = 16


@dataclass(frozen=True, slots=True)
class Storage:
    """A storage as a persistent id names it: `size` counts elements of `itemsize` bytes."""

    key: str
    dtype: str
    itemsize: int
    size: int


def storages(pickle: Pickle) -> dict[str, Storage]:
    """Every storage that the pickle refers to, by key.

    Raises Refusal (broken) for a reference that is not torch's, or two that contradict.
    """
    found: dict[str, Storage] = {}
    for stored in pickle.stored:
        storage = _storage(stored)
        if found.setdefault(storage.key, storage) != storage:
            raise broken(f"The checkpoint describes storage {storage.key[:20]!r} in two ways.")
    return found


def check_calls(pickle: Pickle, budget: int) -> int:
    """The number of tensors, each shown to fit its storage and all together the budget.

    `budget` counts elements. Raises Refusal (broken) otherwise, and for calls of names that
    torch allows but that no dense CPU checkpoint needs.
    """
    tensors = elements = 0
    for call in pickle.calls:
        if call.function.full in names.BUILDERS:
            tensors, elements = tensors + 1, elements + math.prod(shape(call))
            _check_tensor(call)
        elif call.function.full in names.ALLOWED and call.function.full not in names.CALLABLE:
            raise broken(f"The checkpoint calls {call.function.full}, which torch.save never does.")
        _check_call(call)
    if elements > budget:
        raise broken(f"The checkpoint claims {elements:,} elements, far more than the file can hold.")
    return tensors


def _check_call(call: Call) -> None:
    """Refuse what torch's own callables could be made to do beyond what torch.save asks of them."""
    name, arguments = call.function.full, _arguments(call)
    if call.is_built and name in names.ALLOWED and name not in ("collections.OrderedDict", "collections.Counter"):
        # A tensor's state would give it a second shape, unchecked.
        raise broken("The checkpoint sets the state of a tensor, as torch before 0.2 wrote.")
    if name == "builtins.bytearray" and any(isinstance(argument, int) for argument in arguments):
        raise broken("The checkpoint asks for a block of memory by size.")
    if name == "_codecs.encode" and (len(arguments) != 2 or arguments[1] not in ("latin1", "utf-8", "ascii")):
        raise broken("The checkpoint encodes text in a way torch.save does not.")


def check_names(pickle: Pickle) -> None:
    """Raises Refusal (broken) for tensors of a kind that is not dense on the CPU."""
    for name, meaning in pickle.names.items():
        if meaning == "unsupported":
            raise broken(
                f"The checkpoint holds tensors that are not plain dense arrays ({name.full}).",
                "Save it again with plain tensors: {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}.",
            )


def shape(call: Call) -> tuple[int, ...]:
    """The shape that a tensor builder is called with. Raises Refusal when it is not one."""
    arguments = _arguments(call)
    size = arguments[2] if len(arguments) > 3 else None
    if isinstance(size, Call) and size.function.full == "torch.Size":
        size = _arguments(size)[0] if _arguments(size) else ()
    return _whole_numbers(size)


def dtype(call: Call) -> str:
    """The element type a tensor builder gives, as torch names it."""
    stored, arguments = _arguments(call)[0], _arguments(call)
    if len(arguments) > 6 and isinstance(arguments[6], Name):
        return arguments[6].full.removeprefix("torch.")
    return _storage(stored).dtype


def _check_tensor(call: Call) -> None:
    arguments = _arguments(call)
    stored, offset = arguments[0], arguments[1]
    size, stride = shape(call), _whole_numbers(arguments[3])
    if not isinstance(stored, Stored) or len(size) != len(stride) or len(size) > MAX_DIMS:
        raise broken("The checkpoint describes a tensor in a way torch.save does not.")
    (offset,) = _whole_numbers((offset,))
    storage = _storage(stored)
    itemsize = _itemsize(call, storage)
    span = 0 if 0 in size else 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if (offset + span) * itemsize > storage.size * storage.itemsize:
        raise broken(f"The checkpoint claims a tensor of shape {list(size)} on a storage of {storage.size} elements.")


def _itemsize(call: Call, storage: Storage) -> int:
    if call.function.full != "torch._utils._rebuild_tensor_v3":
        if storage.dtype == "bytes":
            raise broken("The checkpoint has a tensor without an element type.")
        return storage.itemsize
    name = _arguments(call)[6] if len(_arguments(call)) > 6 else None
    if not isinstance(name, Name) or name.full not in names.DTYPES:
        raise broken("The checkpoint has a tensor of unknown element type.")
    return names.DTYPES[name.full]


def _storage(stored: Any) -> Storage:
    pid = stored.pid if isinstance(stored, Stored) else None
    if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] not in ("storage", b"storage"):
        raise broken("The checkpoint refers to something other than a storage.", "Save its state_dict() again.")
    _, kind, key, location, size = pid[:5]
    if not isinstance(kind, Name) or kind.full not in names.STORAGES or not isinstance(location, str | bytes):
        raise broken("The checkpoint has a storage of unknown type.")
    if len(pid) == 6 and pid[5] is not None:
        raise broken("The checkpoint has storages that are views of others, as torch before 0.4 wrote.")
    key = key.decode("latin1") if isinstance(key, bytes) else key
    if not isinstance(key, str) or len(key) > 64:
        raise broken("The checkpoint has a storage without a proper key.")
    (size,) = _whole_numbers((size,))
    name, itemsize = names.STORAGES[kind.full]
    return Storage(key, name, itemsize, size)


def _arguments(call: Call) -> tuple[Any, ...]:
    return call.args if isinstance(call.args, tuple) else ()


def _whole_numbers(values: Any) -> tuple[int, ...]:
    good = isinstance(values, tuple) and all(type(value) is int and 0 <= value < 1 << 62 for value in values)
    if not good:
        raise broken("The checkpoint describes a tensor whose sizes are not whole numbers.")
    return tuple(values)
