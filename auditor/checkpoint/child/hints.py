"""What a checkpoint says about its own network: hints, never trusted, all plain and short."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from .stubs import Stub

MAX_TEXT = 200
MAX_CLASSES = 10_000
_CONTAINERS = (
    "args config cfg conf opt opts options hparams hyper_parameters meta metadata params model_args model_config "
    "pretrained_cfg default_cfg model_kwargs data data_config transform preprocessing _content"
)
CONTAINERS = frozenset(_CONTAINERS.split())


def _text(value: Any) -> str | None:
    if isinstance(value, str) and 0 < len(value) <= MAX_TEXT and value.isprintable():
        return value
    return None


def _count(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal() and len(value) < 7:
        value = int(value)
    return value if type(value) is int and 1 < value <= 1_000_000 else None


def _channels(value: Any) -> list[float] | None:
    numbers = list(value) if isinstance(value, list | tuple) else [value]
    good = 1 <= len(numbers) <= 16 and all(type(n) in (int, float) and math.isfinite(n) for n in numbers)
    return [float(n) for n in numbers] if good else None


def _size(value: Any) -> list[int] | None:
    numbers = list(value) if isinstance(value, list | tuple) else [value]
    good = 1 <= len(numbers) <= 4 and all(type(n) is int and 0 < n <= 65_536 for n in numbers)
    return numbers if good else None


def _class_names(value: Any) -> list[str] | None:
    if isinstance(value, dict):
        value = _in_order(value)
    if not isinstance(value, list | tuple) or not 1 < len(value) <= MAX_CLASSES:
        return None
    cut = [name[:MAX_TEXT] for name in value if isinstance(name, str)]
    return cut if len(cut) == len(value) else None


def _in_order(table: dict[Any, Any]) -> list[Any] | None:
    """Names in index order from {name: index} or {index: name}."""
    if all(type(index) is int for index in table.values()):
        table = {index: name for name, index in table.items()}
    indices = {
        int(key) if isinstance(key, str) and key.isdecimal() and len(key) < 7 else key: table[key] for key in table
    }
    return [indices[i] for i in range(len(indices))] if set(indices) == set(range(len(indices))) else None


_WANTED: dict[str, tuple[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(
        ("arch", "architecture", "model_name", "model_arch", "model_type", "network_name", "net_type", "backbone",
         "model", "net", "network"), ("architecture", _text)),
    **dict.fromkeys(("num_classes", "n_classes", "nb_classes", "nclass", "num_class"), ("num_classes", _count)),
    **dict.fromkeys(("classes", "class_names", "class_to_idx", "idx_to_class", "id2label", "labels"),
                    ("class_names", _class_names)),
    **dict.fromkeys(("mean", "norm_mean", "img_mean", "image_mean"), ("mean", _channels)),
    **dict.fromkeys(("std", "norm_std", "img_std", "image_std"), ("std", _channels)),
    **dict.fromkeys(("input_size", "img_size", "image_size", "input_shape", "resolution"), ("input_size", _size)),
    **dict.fromkeys(("dataset", "data_set", "dataset_name"), ("dataset", _text)),
}  # fmt: skip


def gather(root: Any) -> dict[str, Any]:
    """The hints found at the top of a loaded object and in its configuration objects.

    Keys: architecture, num_classes, class_names, mean, std, input_size, dataset; each only if
    it has the right type and a sane value. What stands nearer the top wins.
    """
    hints: dict[str, Any] = {}
    pending: list[tuple[Any, int]] = [(root, 0)]
    seen: set[int] = set()
    while pending:
        node, depth = pending.pop(0)
        entries = node.fields if isinstance(node, Stub) else node
        if not isinstance(entries, dict) or id(node) in seen or depth > 3 or len(entries) > 10_000:
            continue
        seen.add(id(node))
        for key, value in entries.items():
            if not isinstance(key, str):
                continue
            hint, read = _WANTED.get(key.lower(), ("", _text))
            found = read(_parsed(value)) if hint else None
            if found is not None:
                hints.setdefault(hint, found)
            if key.lower() in CONTAINERS:
                pending.append((value, depth + 1))
    return hints


def _parsed(value: Any) -> Any:
    """A list or table written as JSON text, as safetensors metadata must write it."""
    if isinstance(value, str) and value[:1] in ("[", "{") and len(value) < 1 << 20:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value
