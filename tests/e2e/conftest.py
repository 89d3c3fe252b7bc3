"""Files to audit, and an audit that is quick: few search steps, and a placeholder for the PDF."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "checkpoint")]

import material  # noqa: E402 - found beside this file, and needs the path above

import auditor.report  # noqa: E402
from auditor.search import synthesis  # noqa: E402


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> material.Files:
    """The planted network as files; tests write elsewhere."""
    return material.write_files(tmp_path_factory.mktemp("planted"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Budgets that suffice for the planted network, and no PDF (the session's audited run has a real one)."""
    budget = replace(synthesis.PROFILES["quick"], restarts=1, first_steps=0, steps=40, refine_steps=10)
    monkeypatch.setitem(synthesis.PROFILES, "quick", budget)
    monkeypatch.setattr(auditor.report, "to_pdf", lambda html: b"%PDF-1.7\n")
