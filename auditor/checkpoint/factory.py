"""Networks of the user's own: `--factory package.module:callable` or `file.py:callable`.

The callable is code, so it runs only when the person allowed it on the command line; the
checkpoint is still opened in the sandboxed child and only its tensors arrive here.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from auditor.checkpoint.architectures import Built, check_classes, check_forward, check_size
from auditor.checkpoint.loading import compare, fill, shapes_in, shapes_of
from auditor.errors import InputError, UnknownArchitectureError, UsageError, printable

_HEADS = ("fc", "linear", "classifier", "head", "output", "out")


def from_factory(
    spec: str, state: Mapping[str, Tensor], *, allow_code: bool, num_classes: int | None = None,
    input_size: int | None = None,
) -> Built:  # fmt: skip
    """The module that `spec` returns, with `state` loaded strictly.

    The callable takes nothing, or `num_classes`. Raises UsageError when code is not allowed, `spec`
    names no callable, or it fails or returns no module; InputError for a missing file or a wrong
    class count; UnknownArchitectureError when the weights do not fit the module.
    """
    if not allow_code:
        raise UsageError(
            f"--factory {printable(spec)} runs code on this machine, which is not allowed by default.",
            "Read that code, then add --allow-code.",
        )
    check_size(input_size)
    shapes = shapes_in(state)
    module = _call(spec, _find(spec), _arguments(spec, _find(spec), num_classes, shapes)).cpu()
    difference = compare(shapes_of(module), shapes)
    if difference.total:
        raise UnknownArchitectureError(
            f"The weights do not fit the module that {printable(spec)} returns: {difference}.",
            "Return the empty module whose state_dict() has the checkpoint's keys and shapes.",
        )
    module = fill(module, state)
    channels, size, notes = _input(module, input_size)
    found = check_forward(module, (channels, size, size), None, printable(spec))
    check_classes(found, num_classes, printable(spec))
    return Built(name=spec, module=module, num_classes=found, input_shape=(channels, size, size), how="factory",
                 notes=notes)  # fmt: skip


def _find(spec: str) -> Callable[..., Any]:
    place, separator, attribute = spec.rpartition(":")
    if not separator or not place or not attribute.isidentifier():
        raise UsageError(
            f"{printable(spec)} does not name a callable.",
            "Pass --factory package.module:callable or file.py:callable.",
        )
    try:
        module = _module_of_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        found = getattr(module, attribute, None)
    except (UsageError, InputError):
        raise
    except (Exception, SystemExit) as error:
        raise _failed(spec, "could not be imported", error) from error
    if not callable(found):
        raise UsageError(f"{printable(place)} has no callable named {attribute}.", "Check the name after the colon.")
    return found  # type: ignore[no-any-return]


def _module_of_file(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"There is no file {printable(str(path))}.", "Check the path before the colon of --factory.")
    spec = importlib.util.spec_from_file_location("auditor_user_factory", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{printable(str(path))} is not a Python file.", "Pass --factory file.py:callable.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _arguments(
    spec: str, make: Callable[..., Any], num_classes: int | None, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, int]:
    """`num_classes` if the callable takes it and it is known, or needed and readable from the weights."""
    try:
        parameters = inspect.signature(make).parameters
    except (TypeError, ValueError):
        return {}
    wanted = parameters.get("num_classes")
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    if num_classes is not None and (wanted or takes_any):
        return {"num_classes": num_classes}
    if wanted is None or wanted.default is not inspect.Parameter.empty:
        return {}
    for head in _HEADS:
        if shapes.get(f"{head}.weight"):
            return {"num_classes": shapes[f"{head}.weight"][0]}
    raise UsageError(f"{printable(spec)} needs the number of classes.", "Pass --num-classes.")


def _call(spec: str, make: Callable[..., Any], arguments: dict[str, int]) -> nn.Module:
    try:
        with torch.random.fork_rng(devices=[]):
            module = make(**arguments)
    except (Exception, SystemExit) as error:
        raise _failed(spec, "failed", error) from error
    if not isinstance(module, nn.Module):
        raise UsageError(
            f"{printable(spec)} returned {type(module).__name__}, not a torch.nn.Module.",
            "Return the empty module, without weights.",
        )
    return module


def _failed(spec: str, what: str, error: BaseException) -> UsageError:
    return UsageError(
        f"{printable(spec)} {what}: {type(error).__name__}: {printable(error)}", "Correct it, or use --arch instead."
    )


def _input(module: nn.Module, input_size: int | None) -> tuple[int, int, list[str]]:
    """Channels and side of the input: the size given, else 224 for a strided stem and 32 for a plain one."""
    stem = next((layer for layer in module.modules() if isinstance(layer, nn.Conv2d)), None)
    channels = stem.in_channels if stem else 3
    if input_size is not None:
        return channels, input_size, []
    size = 224 if stem and max(stem.kernel_size) >= 4 and max(stem.stride) > 1 else 32
    return channels, size, [f"input size {size} is a guess from the first layer; pass --input-size if it is wrong"]
