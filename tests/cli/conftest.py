"""The fake library as a fixture, and the makers of run folders and hostile files on the path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

_TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_TESTS / "report"), str(_TESTS / "checkpoint")]

import cli_fakes  # noqa: E402 - found beside this file, and needs the path above


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> cli_fakes.FakeLibrary:
    """`auditor.library`, replaced by one that streams what a test gives it."""
    return cli_fakes.install(monkeypatch)


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of known width, whatever the tests run in."""
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
