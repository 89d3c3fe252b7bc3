"""The child's answer, believed only as far as it has the right types and lengths."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from auditor.domain import Finding
from auditor.errors import BrokenCheckpointError, printable

MAX_ENTRIES = 100_000
MAX_NAME = 512
_KINDS = frozenset(
    {"non_finite_weights", "averaged_weights", "other_weights", "unsupported_dtype"}
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Refused:
    """Why the child did not open the file; `names` is what the pickle would have used."""

    kind: Literal["unsafe", "broken"]
    what: str
    next_step: str
    names: list[str]


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the child found, every value checked."""

    tensors: int
    stubbed: list[str]
    findings: list[Finding]
    dtypes: dict[str, str] = field(default_factory=dict)
    hints: dict[str, Any] = field(default_factory=dict)
    prefix: str = ""
    path: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)


def read_refusal(answer: dict[str, Any]) -> Refused | None:
    """The refusal in the answer, or None. Raises BrokenCheckpointError for a malformed one."""
    refused = answer.get("refused")
    if refused is None:
        return None
    if not isinstance(refused, dict) or refused.get("kind") not in ("unsafe", "broken"):
        raise _malformed("refused")
    return Refused(
        kind=refused["kind"],
        what=printable(_string(refused.get("what"), 4000), 600),
        next_step=printable(_string(refused.get("next_step"), 4000), 600),
        names=[printable(name) for name in _strings(refused.get("names"))],
    )


def read_opened(answer: dict[str, Any]) -> Told:
    """The answer to `open`. Raises BrokenCheckpointError when it is malformed."""
    dtypes = answer.get("dtypes")
    if not isinstance(dtypes, dict) or not 0 < len(dtypes) <= MAX_ENTRIES:
        raise _malformed("dtypes")
    return Told(
        **_common(answer),
        dtypes={_name(key): _string(value, 32) for key, value in dtypes.items()},
        hints=_hints(answer.get("hints")),
        prefix=_string(answer.get("prefix"), MAX_NAME),
        path=tuple(printable(part) for part in _strings(answer.get("path"))),
    )


def read_inspected(answer: dict[str, Any]) -> Told:
    """The answer to `inspect`. Raises BrokenCheckpointError when it is malformed."""
    details = answer.get("details")
    if not isinstance(details, dict):
        raise _malformed("details")
    return Told(**_common(answer), details=_plain(details, 0))


def _common(answer: dict[str, Any]) -> dict[str, Any]:
    tensors, findings = answer.get("tensors"), answer.get("findings")
    if type(tensors) is not int or tensors < 0:
        raise _malformed("tensors")
    if not isinstance(findings, list) or len(findings) > 100:
        raise _malformed("findings")
    stubbed = [printable(name) for name in _strings(answer.get("stubbed"))]
    return {"tensors": tensors, "stubbed": stubbed, "findings": [_finding(finding) for finding in findings]}


def _finding(value: Any) -> Finding:
    if not isinstance(value, list) or len(value) != 3 or value[0] not in ("info", "warning") or value[1] not in _KINDS:
        raise _malformed("findings")
    return Finding(severity=value[0], kind=value[1], message=printable(_string(value[2], 4000), 1000))


def _hints(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or len(value) > 20:
        raise _malformed("hints")
    hints: dict[str, Any] = {}
    for key, hint in value.items():
        match key, hint:
            case (("architecture" | "dataset" | "module_class"), str()):
                hints[key] = printable(hint)
            case "num_classes", int() if type(hint) is int and 1 < hint <= 1_000_000:
                hints[key] = hint
            case "class_names", list():
                hints[key] = [printable(name) for name in _strings(hint)]
            case (("mean" | "std" | "input_size"), list()) if len(hint) <= 16 and all(map(_is_number, hint)):
                hints[key] = hint
            case _:
                raise _malformed("hints")
    return hints


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _plain(value: Any, depth: int) -> Any:
    """JSON data with every text made printable; nested at most four deep."""
    if depth > 4:
        raise _malformed("details")
    if isinstance(value, dict):
        return {printable(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in value]
    return printable(value) if isinstance(value, str) else value


def _strings(value: Any) -> list[str]:
    if not isinstance(value, list) or len(value) > MAX_ENTRIES:
        raise _malformed("a list")
    return [_string(item, 4000) for item in value]


def _string(value: Any, limit: int) -> str:
    if not isinstance(value, str) or len(value) > limit:
        raise _malformed("a text")
    return value


def _name(value: Any) -> str:
    name = _string(value, MAX_NAME)
    if not name.isprintable():
        raise _malformed("a name")
    return name


def _malformed(what: str) -> BrokenCheckpointError:
    return BrokenCheckpointError(
        f"The process that opened the file gave an answer that cannot be used ({what}).",
        "Get the file again from its source, or ask for a safetensors file.",
    )
