"""Finding the network's weights inside what a training script saved.

Plain dictionary logic over any kind of tensor. The plain weights are taken before averaged
(EMA) ones, because they are what the training script calls the model; the other set is
named as a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .refusal import broken
from .stubs import Stub

IsTensor = Callable[[Any], bool]
Finding = tuple[str, str, str]

_PLAIN = (
    "model_state_dict state_dict model_state model net netC network net_state_dict network_state_dict model_dict "
    "classifier module weights params student"
)
PLAIN_KEYS = tuple(_PLAIN.split())
_AVERAGED = "state_dict_ema model_ema ema ema_state_dict model_ema_state_dict ema_model params_ema shadow swa_model"
AVERAGED_KEYS = tuple(_AVERAGED.split())
OTHER_STATE = ("optim", "sched", "scaler", "amp", "rng", "grad", "momentum", "criterion", "loss")
_COMMON = "module. _orig_mod. model. net. netC. network. backbone. encoder. base_model. _model. _module. student."
PREFIXES = tuple(_COMMON.split())
MAX_DEPTH = 6
MAX_MODULE_DEPTH = 100
MAX_KEYS = 100_000


@dataclass(slots=True)
class Weights:
    """A network's weights as found. `path` leads to them in the file and `prefix` was stripped
    from every key, so prefix + key is the suspect's own key."""

    state: dict[str, Any]
    path: list[str]
    prefix: str = ""
    module_class: str | None = None
    findings: list[Finding] = field(default_factory=list)


def unwrap(root: Any, is_tensor: IsTensor) -> Weights:
    """The weights inside a loaded object. Raises Refusal (broken) when there are none, or when
    several sets of equal standing are there."""
    search = _Search(is_tensor)
    found = search.find(root, [])
    if found is None:
        raise broken("The file holds no named weights of a network.", "Save the model's state_dict().")
    found.findings = search.findings
    _strip(found)
    if len(found.state) > MAX_KEYS or not all(0 < len(k) <= 512 and k.isprintable() for k in found.state):
        raise broken("The checkpoint's weights have names that no network has.")
    return found


@dataclass
class _Search:
    """A walk down the containers that visits each of them once, however often it is shared."""

    is_tensor: IsTensor
    findings: list[Finding] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)

    def find(self, node: Any, path: list[str]) -> Weights | None:
        if len(path) > MAX_DEPTH or id(node) in self.seen:
            return None
        if is_module(node):
            self.seen.add(id(node))
            state = module_state(node, self.is_tensor)
            return Weights(state, path, module_class=node.qualified_name) if state else None
        entries = _entries(node)
        if entries:
            self.seen.add(id(node))
        return self.choose(entries, path)

    def choose(self, entries: dict[str, Any], path: list[str]) -> Weights | None:
        """Known wrappers first, then tensors that lie here, then any other single network."""
        direct = {key: value for key, value in entries.items() if self.is_tensor(value)}
        nested = [key for key in entries if key not in direct and not _is_other(key)]
        averaged = [key for key in AVERAGED_KEYS if key in nested]
        unknown = [key for key in nested if key not in PLAIN_KEYS and key not in averaged]
        candidates = self.look([key for key in PLAIN_KEYS if key in nested], entries, path)
        if not candidates and any(getattr(value, "ndim", 0) for value in direct.values()):
            candidates = [Weights(direct, path)]
        others = self.look(unknown, entries, path)
        if not candidates and len(others) > 1:
            shown = ", ".join(ascii(".".join(weights.path))[:60] for weights in others[:6])
            raise broken(f"The file holds several networks: {shown}.", "Save the one to audit in a file of its own.")
        candidates += others + self.look(averaged, entries, path)
        if not candidates:
            return None
        self.note(candidates[0], candidates[1:], averaged)
        return candidates[0]

    def look(self, keys: list[str], entries: dict[str, Any], path: list[str]) -> list[Weights]:
        found = (self.find(entries[key], [*path, key]) for key in keys)
        return [weights for weights in found if weights]

    def note(self, chosen: Weights, others: list[Weights], averaged: list[str]) -> None:
        taken = ".".join(chosen.path) or "the top level"
        if chosen.path and chosen.path[-1] in averaged:
            message = f"Only averaged (EMA) weights are in the file; {taken} is audited."
            self.findings.append(("info", "averaged_weights", message))
        for other in others[:10]:
            is_averaged = other.path[-1] in averaged
            what = "averaged (EMA) weights" if is_averaged else "other weights"
            message = f"The file also holds {what} under {'.'.join(other.path)}; {taken} is audited."
            self.findings.append(("warning", "averaged_weights" if is_averaged else "other_weights", message))


def is_module(node: Any) -> bool:
    """True for the stub of a pickled torch module."""
    return isinstance(node, Stub) and isinstance(node.fields.get("_parameters"), dict)


def module_state(module: Stub, is_tensor: IsTensor) -> dict[str, Any]:
    """What state_dict() of the pickled module would have been, with dotted names."""
    state: dict[str, Any] = {}
    pending: list[tuple[str, Any, int]] = [("", module, 0)]
    for _ in range(MAX_KEYS):
        if not pending:
            return state
        prefix, node, depth = pending.pop()
        if not is_module(node) or depth > MAX_MODULE_DEPTH:
            continue
        unsaved = node.fields.get("_non_persistent_buffers_set")
        transient = unsaved if isinstance(unsaved, set) else set()
        for name, value in {**_table(node, "_parameters"), **_table(node, "_buffers")}.items():
            if isinstance(name, str) and is_tensor(value) and name not in transient:
                state[prefix + name] = value
        children = [(f"{prefix}{name}.", child, depth + 1) for name, child in _table(node, "_modules").items()]
        pending.extend(reversed(children))
    raise broken("The pickled network has more parts than any network has.")


def _table(node: Stub, name: str) -> Mapping[Any, Any]:
    value = node.fields.get(name)
    return value if isinstance(value, dict) else {}


def _entries(node: Any) -> dict[str, Any]:
    if isinstance(node, Stub):
        return node.fields
    if isinstance(node, dict):
        return {key: value for key, value in node.items() if isinstance(key, str)}
    if isinstance(node, list | tuple) and len(node) <= 16:
        return {str(index): value for index, value in enumerate(node)}
    return {}


def _is_other(key: str) -> bool:
    return any(word in key.lower() for word in OTHER_STATE)


def _strip(weights: Weights) -> None:
    """Take off the prefixes that every key shares, and AveragedModel's counter."""
    state = weights.state
    if "n_averaged" in state and len(state) > 1:
        del state["n_averaged"]
        weights.findings.append(("info", "averaged_weights", "The weights are a running average (AveragedModel)."))
    while True:
        prefix = next((p for p in PREFIXES if all(key.startswith(p) and key != p for key in state)), None)
        if prefix is None:
            break
        state = {key[len(prefix) :]: value for key, value in state.items()}
        weights.prefix += prefix
    weights.state = state
