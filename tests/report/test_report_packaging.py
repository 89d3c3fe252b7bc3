"""The wheel carries the templates and the data file, so that an installed auditor can report."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_wheel_contains_the_templates(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        shipped = set(archive.namelist())
    templates = ROOT / "reports" / "templates"
    expected = {f"auditor/report/templates/{p.relative_to(templates).as_posix()}" for p in templates.rglob("*.*")}
    assert len(expected) >= 16
    assert expected | {"auditor/report/knowledge.json"} <= shipped
