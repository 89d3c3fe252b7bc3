"""Reading the tensors of a checkpoint that passed the static checks. The only torch here."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from . import names
from .refusal import Refusal, broken
from .stubs import StubKind, make_stub

Finding = tuple[str, str, str]
KEPT = frozenset(
    {
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.uint16,
        torch.uint32,
        torch.uint64,
        torch.bool,
    }
)


def load_pickled(path: Path, stubs: dict[str, StubKind]) -> Any:
    """The saved object, every class it names replaced by an inert stub.

    Raises Refusal (broken) when torch's restricted unpickler does not accept the file.
    """
    own = set(torch._weights_only_unpickler._get_allowed_globals()) - names.ALLOWED
    clash = sorted(own & set(stubs))
    if clash:
        raise broken(f"The checkpoint uses {clash[0]}, which is not part of a dense state dict.")
    stand_ins: list[Any] = [(make_stub(name, kind), name) for name, kind in stubs.items()]
    try:
        with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except MemoryError:
        raise
    except Exception as error:  # torch raises many kinds for hostile bytes, and all of them mean refusal
        raise _refused(error) from error


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises Refusal (broken) when the library refuses it."""
    try:
        return load_file(path, device="cpu")
    except MemoryError:
        raise
    except Exception as error:  # as above
        raise _refused(error) from error


def is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def write_state(state: dict[str, Any], path: Path, budget_bytes: int) -> tuple[dict[str, str], list[Finding]]:
    """Write the weights as contiguous CPU tensors, floating ones as float32.

    Returns the dtype each had, and findings about their values. Raises Refusal (broken) when
    a tensor is not dense on the CPU, or all together would exceed `budget_bytes`.
    """
    for name, tensor in state.items():
        _check_dense(name, tensor)
    if sum(4 * max(1, tensor.element_size() // 4) * tensor.numel() for tensor in state.values()) > budget_bytes:
        raise broken("The checkpoint's tensors share storage so often that they would not fit in memory.")
    dtypes = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in state.items()}
    plain = {name: _plain(tensor) for name, tensor in state.items()}
    dropped = sorted(name for name, tensor in plain.items() if tensor is None)
    written = {name: tensor for name, tensor in plain.items() if tensor is not None}
    if not any(tensor.is_floating_point() for tensor in written.values()):
        raise broken("The file holds no floating weights.", "Save the model's state_dict().")
    save_file(written, path)
    findings = _value_findings(written)
    if dropped:
        findings.append(("warning", "unsupported_dtype", f"Left out, being complex or packed: {_named(dropped)}."))
    return {name: dtypes[name] for name in written}, findings


def _check_dense(name: str, tensor: Any) -> None:
    dense = (
        type(tensor) in (Tensor, torch.nn.Parameter)
        and tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_quantized
        and not tensor.is_nested
    )
    if not dense:
        raise broken(f"The weight {name[:80]!a} is not a dense tensor on the CPU.", "Save an ordinary state_dict().")


def _plain(tensor: Tensor) -> Tensor | None:
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.is_floating_point():
        return tensor.to(torch.float32).contiguous().clone()
    if tensor.dtype in KEPT:
        return tensor.contiguous().clone()
    return None


def _value_findings(state: dict[str, Tensor]) -> list[Finding]:
    infinite = [k for k, v in state.items() if v.is_floating_point() and not bool(torch.isfinite(v).all())]
    negative = [k for k, v in state.items() if k.endswith("running_var") and bool((v < 0).any())]
    findings: list[Finding] = []
    if infinite:
        findings.append(("warning", "non_finite_weights", f"NaN or infinite values in {_named(infinite)}."))
    if negative:
        findings.append(("warning", "non_finite_weights", f"Negative batch-norm variance in {_named(negative)}."))
    return findings


def _named(keys: list[str]) -> str:
    more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
    return ", ".join(key[:80] for key in keys[:5]) + more


def _refused(error: Exception) -> Refusal:
    first = str(error).strip().splitlines() or [""]
    return broken(f"The checkpoint cannot be read: {type(error).__name__}: {ascii(first[0][:200])[1:-1]}")
