"""`inspect`, `report`, `doctor`, `schema` and `tui`, the real ones."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import hostile_files
import jsonschema
import pytest
import report_runs
import torch

from auditor.cli import doctor
from auditor.cli.main import main
from auditor.cli.schema import result_schema
from auditor.runs.seal import SUMS, verify_seal, write_seal


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    torch.save({f"layer{i}.weight": torch.ones(3, 2) for i in range(25)}, path)
    return path


@pytest.fixture
def dangerous(tmp_path: Path) -> Path:
    path = tmp_path / "evil.pt"
    call = hostile_files.text("x") + hostile_files.call("os", "system", hostile_files.text("true"))
    path.write_bytes(hostile_files.archive(hostile_files.state_dict(call)))
    return path


def test_inspect_lists_what_a_file_holds(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(model)]) == 0
    text = capsys.readouterr().out
    assert "pytorch_zip" in text
    assert "25 tensors" in text
    assert "3x2  float32   layer0.weight" in text
    assert text.count("float32") == 20
    assert "and 5 more" in text


def test_inspect_as_json_is_a_result_with_details(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(model), "--format", "json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator(result_schema()).validate(plain)
    assert plain["artifact"]["bytes"] == model.stat().st_size
    assert len(plain["file_safety"]["details"]["tensors"]) == 25
    assert plain["verdict"] is None
    assert plain["run"]["exit_code"] == 0


@pytest.mark.parametrize("format_name", ["text", "json"])
def test_inspect_refuses_a_dangerous_file(
    dangerous: Path, capsys: pytest.CaptureFixture[str], format_name: str
) -> None:
    assert main(["inspect", str(dangerous), "--format", format_name]) == 4
    printed = capsys.readouterr()
    assert "system" in printed.out
    assert "is dangerous" in printed.err
    if format_name == "json":
        plain = json.loads(printed.out)
        assert plain["file_safety"]["status"] == "dangerous"
        assert plain["errors"][0]["kind"] == "unsafe_checkpoint"
        assert plain["run"]["exit_code"] == 4


@pytest.mark.parametrize(("content", "code"), [(b"\x00" * 64, 4), (b"", 4), (b"PK\x03\x04 cut", 4), (None, 2)])
def test_inspect_of_what_is_no_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, code: int
) -> None:
    path = tmp_path / "a\x1b[2J.pt"
    if content is not None:
        path.write_bytes(content)
    assert main(["inspect", str(path), "--format", "json"]) == code
    printed = capsys.readouterr()
    assert len(json.loads(printed.out)["errors"]) == 1
    assert printed.err.startswith("auditor inspect: ")
    assert "\x1b" not in printed.err


def test_inspect_loads_no_torch(model: Path) -> None:
    code = ("import sys; from auditor.cli.main import main; "
            f"sys.exit(main(['inspect', {str(model)!r}]) or 10 * ('torch' in sys.modules))")  # fmt: skip
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0, found.stderr


def test_report_renders_a_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = report_runs.write_run(tmp_path / "run")
    write_seal(run)
    assert main(["report", str(run), "--no-pdf"]) == 0
    printed = capsys.readouterr()
    assert "report  " + str(run / "report.html") in printed.out
    assert (run / "report.html").stat().st_size > 10_000
    assert verify_seal(run) == []
    assert printed.err == ""


def test_report_as_json_is_the_runs_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = report_runs.write_run(tmp_path / "run")
    assert main(["report", str(run), "--no-pdf", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((run / "result.json").read_text())


def test_report_never_seals_over_a_changed_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Given a sealed run whose result was changed afterwards
    run = report_runs.write_run(tmp_path / "run")
    write_seal(run)
    sums = (run / SUMS).read_bytes()
    (run / "result.json").write_text((run / "result.json").read_text().replace('"backdoored"', '"no_evidence"'))
    # When it is rendered, then the change is said and the seal stays broken
    assert main(["report", str(run), "--no-pdf"]) == 0
    assert "warning: result.json was changed." in capsys.readouterr().err
    assert (run / SUMS).read_bytes() == sums


@pytest.mark.parametrize("content", [None, "{}", "[", '{"schema_version": "1.0"}'])
def test_report_of_no_run_is_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None) -> None:
    if content is not None:
        (tmp_path / "result.json").write_text(content)
    assert main(["report", str(tmp_path), "--format", "json"]) == 2
    printed = capsys.readouterr()
    assert json.loads(printed.out)["run"]["exit_code"] == 2
    assert printed.err.splitlines()[-2].startswith("auditor report: ")


def test_report_without_pango_writes_the_html_and_names_the_package(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    run = report_runs.write_run(tmp_path / "run")
    assert main(["report", str(run)]) == 0
    printed = capsys.readouterr()
    assert (run / "report.html").exists()
    assert "libpango-1.0-0" in printed.err
    assert "report.pdf" not in printed.out


def test_doctor_tries_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    status = {check["name"]: check["status"] for check in found["checks"]}
    assert found["works"] is True
    assert {name for name, state in status.items() if state == "ok"} >= {
        "python", "torch", "onnxruntime", "sandbox", "report templates"
    }  # fmt: skip


@pytest.mark.parametrize(("module", "code"), [("onnxruntime", 2), ("weasyprint", 0)])
def test_doctor_tells_core_from_comfort(
    module: str, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a machine where a library is missing
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(doctor, "_sandbox", lambda: doctor.Check(name="sandbox", status="ok", found="", core=True))
    assert main(["doctor"]) == code
    text = capsys.readouterr().out
    assert ("failed   onnxruntime" if code else "missing  pdf") in text
    assert ("Audits cannot run" if code else "Audits can run") in text
    assert "make setup" in text if code else "libpango-1.0-0" in text


def test_tui_starts_the_app_with_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str | None] = []
    module: Any = types.ModuleType("auditor.tui.starting")
    module.run = opened.append
    monkeypatch.setitem(sys.modules, "auditor.tui", types.ModuleType("auditor.tui"))
    monkeypatch.setitem(sys.modules, "auditor.tui.starting", module)
    for name in ("stdin", "stdout"):
        terminal = io.StringIO()
        terminal.isatty = lambda: True  # type: ignore[method-assign]
        monkeypatch.setattr(sys, name, terminal)
    assert main(["tui", "runs/a"]) == 0
    assert main(["tui"]) == 0
    assert opened == ["runs/a", None]
