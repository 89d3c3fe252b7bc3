"""What can go wrong, each with the exit code it means and the next step to take.

Raise these for misuse and for input that cannot be used. Facts about the model under
audit (it is inconclusive, it is backdoored) are results, not errors.
"""

from __future__ import annotations

import unicodedata

_HIDING = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def printable(text: object, limit: int = 200) -> str:
    """The text on one line, safe to show: cut in its middle to about `limit` characters, and
    every control, direction-changing or unpaired surrogate character replaced by U+FFFD.

    Names of files and classes come from strangers, and may carry terminal escapes.
    """
    shown = str(text)
    shown = shown if len(shown) <= limit else f"{shown[: limit // 2]}\u2026{shown[-(limit // 2) :]}"
    return "".join("\ufffd" if unicodedata.category(c) in _HIDING else c for c in shown)


class AuditorError(Exception):
    """An error a person can act on: what happened, and what to do next.

    `exit_code` is the process exit code; `kind` is the stable name used in JSON.
    """

    exit_code = 2
    kind = "internal"

    def __init__(self, what: str, next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.what}\n{self.next_step}" if self.next_step else self.what


class UsageError(AuditorError):
    """The command line or the arguments of a library call do not fit together (exit 2)."""

    kind = "usage"


class InputError(AuditorError):
    """A path cannot be read, or images and labels are malformed (exit 2)."""

    kind = "input"


class OutputError(AuditorError):
    """The run folder or an output file cannot be written, or belongs to another run (exit 2)."""

    kind = "output"


class DeviceError(AuditorError):
    """The requested device is not available (exit 2)."""

    kind = "device"


class UnsafeCheckpointError(AuditorError):
    """The file would run code, or hides something, when opened (exit 4)."""

    exit_code = 4
    kind = "unsafe_checkpoint"


class BrokenCheckpointError(AuditorError):
    """The bytes are not a checkpoint that can be opened: broken, truncated, unknown (exit 4)."""

    exit_code = 4
    kind = "broken_checkpoint"


class InconclusiveError(AuditorError):
    """The audit cannot reach a verdict on this input (exit 3)."""

    exit_code = 3
    kind = "inconclusive"


class UnknownArchitectureError(InconclusiveError):
    """No architecture, or more than one, fits the weights (exit 3)."""

    kind = "unknown_architecture"


class Cancelled(AuditorError):
    """The person stopped the audit (exit 130)."""

    exit_code = 130
    kind = "cancelled"
