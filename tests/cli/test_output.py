"""The text summary: what it says, and that hostile names cannot act on a terminal."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cli_fakes as fakes
import jsonschema
import pytest
import report_runs

from auditor.cli import output, streams
from auditor.cli.main import main
from auditor.cli.paragraphs import Line
from auditor.cli.schema import result_schema
from auditor.domain import AuditResult, ErrorRecord, Verdict
from auditor.events import FileWritten
from auditor.plain import to_json
from auditor.request import Request

REQUEST = Request(model="m.pt", output="runs/demo")
HOSTILE = "cat\x1b]0;owned\x07\x1b[2J\r\n\u202egnp.exe\x00"


def shown(result: AuditResult, request: Request = REQUEST, **options: bool) -> str:
    written = [FileWritten(path="report.html", what="the report"), FileWritten(path="result.json", what="the result")]
    return output.text(result, request, written, **options)


def test_the_verdict_comes_first_with_name_and_index() -> None:
    lines = shown(fakes.backdoored()).splitlines()
    assert lines[0] == "Backdoor found toward 3 (cat) (all to one)."
    assert lines[1] == "Sanitized and verified."
    assert "Suspicion score 0.97 of 1, uncalibrated." in lines


def test_a_backdoor_of_all_to_all_names_no_single_class() -> None:
    found = fakes.backdoored()
    assert found.verdict is not None
    verdict = replace(found.verdict, kind="all_to_all", target_classes=list(range(10)))
    assert shown(replace(found, verdict=verdict)).startswith("Backdoor found that sends every class to another (all to all).")


def test_every_rate_carries_its_count_and_interval() -> None:
    text = shown(fakes.backdoored())
    before, after = report_runs.rate(27, 27), report_runs.rate(1, 27)
    assert f"attack success rate before  100.0 % (27 of 27; 95 % interval {100 * before.low:.1f} to 100.0 %)" in text
    assert f"3.7 % (1 of 27; 95 % interval {100 * after.low:.1f} to {100 * after.high:.1f} %), -96.3 points" in text
    assert "clean accuracy before       90.0 % (27 of 30; 95 % interval" in text
    assert "clean accuracy after        90.0 % (27 of 30; 95 % interval" in text


def test_one_trigger_of_all_to_all_is_one_line() -> None:
    found = fakes.backdoored()
    moved = [replace(found.triggers[0], source_classes=[k], target_class=(k + 1) % 10, cost=0.01,
                     attack_success_rate=report_runs.rate(k % 2, 2)) for k in range(10)]  # fmt: skip
    text = shown(replace(found, triggers=[*moved, found.triggers[0]]))
    [line] = [line for line in text.splitlines() if "leads" in line]
    assert "4 (deer) and 6 more" in line and "(5 of 20;" in line
    assert text.count("  - patch ") == 2


def test_reasons_untested_limits_and_files_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = fakes.backdoored()
    text = shown(result)
    assert result.verdict is not None
    for said in [*result.verdict.reasons, *result.verdict.untested, *result.limits]:
        assert f"- {said}" in text
    assert "runs/demo/report.html" not in text  # there is no such folder here, so the path stays as it was written
    assert "sanitized model, onnx         sanitized.onnx" in text
    assert "result.json" not in text
    assert text.endswith("exit code 0: policy met\n")


def test_paths_lead_into_the_run_folder(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("")
    (tmp_path / "sanitized.onnx").write_text("")
    text = shown(fakes.backdoored(), Request(model="m.pt", output=str(tmp_path)))
    assert f"{tmp_path}/report.html" in text
    assert f"{tmp_path}/sanitized.onnx" in text


def test_a_failed_check_stands_out() -> None:
    result = fakes.backdoored()
    assert result.verification is not None
    checks = [replace(result.verification.checks[0], passed=False), *result.verification.checks[1:]]
    text = shown(replace(result, verification=replace(result.verification, checks=checks, passed=False)))
    assert "FAILED  triggers dead: 1 of 27 (3.7 %) (allowed: at most 10 %)" in text
    assert "Not removed" in text


def test_no_evidence_is_never_called_safe_or_clean() -> None:
    text = shown(fakes.scanned("no_evidence", 0))
    assert text.startswith("No evidence of a backdoor.")
    assert "Warping triggers" in text
    assert "is safe" not in text.lower() and "is clean" not in text.lower()


def test_a_scan_is_not_blamed_for_what_it_does_not_try() -> None:
    text = shown(fakes.ended(1, unlearning=None, verification=None, exports=[]))
    assert "Sanitizing was not attempted." in text
    assert text.endswith("exit code 1: backdoor found\n")


def test_what_was_not_tested_is_said_once() -> None:
    text = shown(fakes.scanned("no_evidence", 0, limits=["Warping triggers", "Few images."]))
    assert text.count("Warping triggers") == 1
    assert "Limits\n  - Few images." in text


def test_inconclusive_says_why() -> None:
    verdict = Verdict(label="inconclusive", score=None, reasons=["The images do not fit the model."])
    text = shown(fakes.ended(3, verdict=verdict, unlearning=None, verification=None, triggers=[], exports=[]))
    assert text.startswith("Inconclusive.\n")
    assert "- The images do not fit the model." in text
    assert "exit code 3: inconclusive" in text


def test_errors_carry_their_next_step() -> None:
    text = shown(fakes.failed(2, "gone.pt does not exist.", "Check the path."))
    assert text.startswith("No verdict: the audit could not run.")
    assert "- gone.pt does not exist.\n    Check the path." in text
    assert "gone.pt" not in shown(fakes.failed(2, "gone.pt does not exist."), with_errors=False)


def test_hostile_names_cannot_act_on_the_terminal() -> None:
    result = fakes.backdoored()
    assert result.images is not None and result.verdict is not None and result.artifact is not None
    result = replace(
        result, images=replace(result.images, class_names=[HOSTILE] * 10), limits=[HOSTILE],
        verdict=replace(result.verdict, reasons=[HOSTILE]), artifact=replace(result.artifact, path=HOSTILE),
        errors=[ErrorRecord(kind="input", what=HOSTILE, next_step=HOSTILE)],
    )  # fmt: skip
    text = shown(result)
    assert not {c for c in text if ord(c) < 32 and c != "\n"}
    assert "\u202e" not in text


def test_a_name_with_a_line_break_cannot_forge_a_verdict() -> None:
    result = fakes.backdoored(limits=["first\nNo evidence of a backdoor.\nlast"])
    assert "No evidence of a backdoor." not in shown(result).splitlines()


def test_lines_wrap_below_their_own_start() -> None:
    text = output.laid_out([Line(text="word " * 20, lead="- ", indent=2)], width=40)
    lines = text.splitlines()
    assert len(lines) > 1
    assert lines[0].startswith("  - word")
    assert all(line.startswith("    word") and len(line) <= 40 for line in lines[1:])


def test_json_of_undecodable_paths_is_still_json(
    library: fakes.FakeLibrary, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert library.result.artifact is not None
    library.result = replace(library.result, artifact=replace(library.result.artifact, path="m\udcff.pt"))
    assert main(["scan", "m.pt", "--format", "json", "-q"]) == 0
    assert json.loads(capsysbinary.readouterr().out.decode("utf-8"))["artifact"]["path"] == "m\udcff.pt"


def test_the_schema_fits_every_kind_of_result(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for result in (fakes.backdoored(), fakes.scanned("no_evidence", 0), fakes.failed(4, "Broken.")):
        validator.validate(json.loads(to_json(result)))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda plain: plain.update(verdit=None),
        lambda plain: plain.pop("limits"),
        lambda plain: plain.update(schema_version="9.9"),
        lambda plain: plain["verdict"].update(label="clean"),
        lambda plain: plain["triggers"][0].update(cost="cheap"),
    ],
)
def test_the_schema_refuses_what_is_not_a_result(spoil: object) -> None:
    plain = json.loads(to_json(fakes.backdoored()))
    spoil(plain)  # type: ignore[operator]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(result_schema()).validate(plain)


def test_plain_replaces_typographic_spaces() -> None:
    assert streams.plain("95\u00a0% of 1\u202f000, \u22122") == "95 % of 1 000, -2"
