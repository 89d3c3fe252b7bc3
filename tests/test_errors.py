"""Errors carry their exit code, and nothing a stranger wrote reaches a terminal raw."""

from __future__ import annotations

import pytest

from auditor import errors
from auditor.errors import AuditorError, printable


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.UsageError, 2), (errors.InputError, 2), (errors.OutputError, 2), (errors.DeviceError, 2),
        (errors.UnsafeCheckpointError, 4), (errors.BrokenCheckpointError, 4), (errors.InconclusiveError, 3),
        (errors.UnknownArchitectureError, 3), (errors.Cancelled, 130), (AuditorError, 2),
    ],
)  # fmt: skip
def test_exit_code_of_each_error(kind: type[AuditorError], code: int) -> None:
    error = kind("What.", "Next.")
    assert (error.exit_code, error.what, str(error)) == (code, "What.", "What.\nNext.")
    assert str(kind("What.")) == "What."


@pytest.mark.parametrize("hidden", ["\x1b[31m", "\n", "\0", "\u202e", "\u2028", "\udcff", "\u200b", "\x9b"])
def test_characters_that_act_are_replaced(hidden: str) -> None:
    shown = printable(f"a{hidden}b")
    assert shown.isprintable() and shown.startswith("a\ufffd") and shown.endswith("b")
    shown.encode()


def test_ordinary_names_are_shown_as_they_are_and_long_ones_lose_their_middle() -> None:
    assert printable("日本 café 🦊") == "日本 café 🦊"
    assert printable("a" * 100 + "b" * 300 + "c" * 100) == "a" * 100 + "…" + "c" * 100
