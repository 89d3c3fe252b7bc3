"""Files to audit, and an audit that is quick and ends the same whatever is tuned: few search steps, an
unlearning method that knows the answer, and a placeholder for the PDF."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "checkpoint")]

import material  # noqa: E402 - found beside this file, and needs the path above
from portfolios import try_only  # noqa: E402

import auditor.report  # noqa: E402
from auditor.search import budgets  # noqa: E402
from auditor.unlearn import METHODS  # noqa: E402


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> material.Files:
    """The planted network as files; tests write elsewhere."""
    return material.write_files(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Budgets that suffice for the planted network, its honest twin for a remedy, and no PDF."""
    budget = replace(budgets.PROFILES["quick"], restarts=1, first_steps=0, steps=40, refine_steps=10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(budgets.PROFILES, "quick", budget)
        patch.setitem(METHODS, "oracle", material.Oracle())
        try_only(patch, "oracle")
        patch.setattr(auditor.report, "to_pdf", lambda html: b"%PDF-1.7\n")
        yield
