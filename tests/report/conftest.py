"""A rendered run that the tests of this folder share; it is only read."""

from __future__ import annotations

from pathlib import Path

import pytest
import report_runs as runs

from auditor.report import render


@pytest.fixture(scope="session")
def full_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run folder with its `report.html`."""
    folder = runs.write_run(tmp_path_factory.mktemp("report") / "run")
    render(folder, pdf=False)
    return folder


@pytest.fixture(scope="session")
def full_html(full_run: Path) -> str:
    return (full_run / "report.html").read_text(encoding="utf-8")
