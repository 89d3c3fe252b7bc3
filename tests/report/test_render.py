"""The page as a whole: what is in it, what it never does, and that it is the same each time."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import page_reader
import pytest
import report_runs as runs

from auditor.domain import Architecture, Check, ErrorRecord, ImageSet, Verdict
from auditor.errors import InputError, OutputError
from auditor.report import render
from auditor.report.calibration import calibration_pairs
from auditor.verdict.decision import ALL_TO_ALL_UNTESTED, SOURCE_UNTESTED

SECTIONS = ("summary", "scope", "artifact", "verdict", "triggers", "remediation", "exports", "limits", "provenance",
            "sign-off", "appendix")  # fmt: skip


def html_of(folder: Path, result: object | None = None, *, evidence: bool = True) -> str:
    runs.write_run(folder, result, evidence=evidence)  # type: ignore[arg-type]
    return render(folder, pdf=False).html.read_text(encoding="utf-8")


def test_every_section_is_there_in_order(full_html: str) -> None:
    page = page_reader.read(full_html)
    found = [e.attributes["id"] for e in page.all("section")]
    assert found == list(SECTIONS)
    assert [e.attributes["href"] for e in page.all("a")] == [f"#{name}" for name in SECTIONS]


def test_the_cover_says_the_verdict_and_what_happened_next(full_html: str) -> None:
    cover = page_reader.read(full_html).all("header")[0].text
    assert "Backdoor found" in cover
    assert "Sanitized and verified" in cover
    assert runs.SHA in cover


def test_an_all_to_all_backdoor_is_told_as_one(tmp_path: Path) -> None:
    found = runs.badnets()
    assert found.verdict is not None
    moved = [replace(found.triggers[0], source_classes=[k], target_class=(k + 1) % 10, attack_success_rate=runs.rate(k % 2, 2),
                     evidence=f"evidence/trigger_{k % 2}.npz") for k in range(10)]  # fmt: skip
    verdict = replace(found.verdict, kind="all_to_all", target_classes=list(range(10)))
    page = page_reader.read(html_of(tmp_path, replace(found, verdict=verdict, triggers=moved)))
    assert "that sends every class to another, all to all" in page.all("header")[0].text
    summary, triggers = page.by_id("summary").text, page.by_id("triggers").text
    assert "1 trigger was synthesized" in summary and "for 0 (airplane) 1 (automobile), and so for every class" in summary
    assert triggers.count("Attack success") == 1 and "trigger that sends every class to another" in triggers
    assert "5 of 20" in triggers and "more triggers are in result.json" not in triggers


def test_triggers_of_one_pair_are_told_as_one(tmp_path: Path) -> None:
    found = runs.badnets()
    assert found.verdict is not None
    of_pair = [replace(found.triggers[0], source_classes=[1], target_class=7, cost=0.01 + k / 1000, attack_success_rate=runs.rate(k % 2, 2),
                       evidence=f"evidence/trigger_{k % 2}.npz") for k in range(5)]  # fmt: skip
    other = replace(of_pair[0], source_classes=[2])
    verdict = replace(found.verdict, kind="source_specific", target_classes=[7], source_classes=[1, 2])
    page = page_reader.read(html_of(tmp_path, replace(found, verdict=verdict, triggers=[*of_pair, other])))
    triggers = page.by_id("triggers").text
    assert "2 triggers were synthesized" in page.by_id("summary").text and triggers.count("Attack success") == 2
    assert "2 of 10" in triggers and "sends every class to another" not in triggers


def test_rates_come_with_count_and_interval(full_html: str) -> None:
    retest = page_reader.read(full_html).by_id("remediation").text
    assert "1 of 27; 95\N{NO-BREAK SPACE}% interval 0.7 to 18.3\N{NO-BREAK SPACE}%" in retest
    assert "\N{MINUS SIGN}96.3 points" in retest
    assert "Basis: held out." in retest


def test_the_score_without_calibration_is_called_uncalibrated(full_html: str) -> None:
    assert "0.97 of 1, uncalibrated" in page_reader.read(full_html).by_id("verdict").text


def test_a_calibration_is_shown_with_its_bank(tmp_path: Path) -> None:
    bank = {"bank": "cifar10-2026", "false_positive_rate": 0.05, "extrapolated": False}
    verdict = replace(runs.badnets().verdict or Verdict(label="inconclusive", score=None), calibration=bank)
    text = page_reader.read(html_of(tmp_path, runs.badnets(verdict=verdict))).by_id("verdict").text
    assert "uncalibrated" not in text
    assert "cifar10-2026" in text
    assert "False positive rate" in text


def test_a_calibration_is_told_in_words_and_without_what_is_empty() -> None:
    said = dict(calibration_pairs({
        "bank": "2026.11", "honest_models": 32, "probability_at_base_rate": {"0.1": 0.3528, "0.5": 0.8307}, "extrapolated": [],
        "class_profile": "", "class_profile_share": 0.0, "unheard_of": 3,
    }))  # fmt: skip
    assert said["Bank"] == "2026.11" and said["Honest models"] == "32" and said["Unheard of"] == "3"
    where = said["Probability"].replace("\N{NO-BREAK SPACE}", " ")
    assert where == "35.3 % where 10 %, 83.1 % where 50 % of models carry a backdoor"
    assert len(said) == 4
    assert dict(calibration_pairs({"probability_at_base_rate": {"x": []}}))  # anybody may have written a result


def test_the_targets_rows_come_first(full_html: str) -> None:
    found, elements = runs.badnets().verdict, page_reader.read(full_html).elements
    assert found is not None
    start = next(i for i, e in enumerate(elements) if e.text == "Evidence per class and family")
    rows = [e for e in elements[start:] if e.tag == "tr"][1 : 1 + len(found.per_class)]
    are_targets = ["is-target" in row.attributes.get("class", "") for row in rows]
    assert are_targets[0] and are_targets == sorted(are_targets, reverse=True)


def test_no_number_of_the_table_is_broken_over_two_lines(full_html: str) -> None:
    """4.56e-45 in a narrow column read as 4.56e-4."""
    table = full_html[full_html.index("Evidence per class and family") :]
    numbers = re.findall(r"<td([^>]*)>", table[table.index("is-target") : table.index("</tr>", table.index("is-target"))])
    assert [('class="value-cell"' in attributes) for attributes in numbers] == [False, True, True, True, True]


def test_families_are_said_as_people_say_them(tmp_path: Path) -> None:
    found = runs.badnets().verdict
    assert found is not None
    warped = replace(found, per_class=[replace(found.per_class[0], family="lowfreq"), *found.per_class[1:]])
    page = page_reader.read(html_of(tmp_path, runs.badnets(verdict=warped)))
    assert "smooth additive triggers toward 1 class" in page.by_id("scope").text
    assert "smooth additive" in page.by_id("verdict").text and "lowfreq" not in page.by_id("verdict").text


def test_searches_by_source_class_count_as_tested_unless_the_result_says_otherwise(tmp_path: Path) -> None:
    found = runs.badnets().verdict
    assert found is not None
    by_source = replace(found, kind="source_specific", source_classes=[1], mapping={"1": 7}, untested=[])
    page = page_reader.read(html_of(tmp_path / "one", runs.badnets(verdict=by_source)))
    assert "from every class to every other" in page.by_id("scope").text and "by the same step" in page.by_id("scope").text
    assert f"1 ({runs.CLASSES[1]}) → 7 ({runs.CLASSES[7]})" in page.by_id("verdict").text
    not_searched = replace(found, untested=[SOURCE_UNTESTED, ALL_TO_ALL_UNTESTED])
    scope = page_reader.read(html_of(tmp_path / "two", runs.badnets(verdict=not_searched))).by_id("scope").text
    assert "from every class to every other" not in scope and "by the same step" not in scope


def test_reproduction_signoff_taxonomy_and_references(full_html: str) -> None:
    page = page_reader.read(full_html)
    assert runs.badnets().reproduce in page.all("pre")[0].text
    for word in ("Accept", "Accept with conditions", "Reject", "Conditions", "Name", "Role", "Date", "Signature"):
        assert word in page.by_id("sign-off").text
    appendix = page.by_id("appendix").text
    for entry in ("ML10", "AML.T0018", "NIST AI 100-2", "CWE-502", "2307.10562", "2405.03918", "2407.07662",
                  "2511.21291", "1610.02391", "Neural Cleanse"):  # fmt: skip
        assert entry in appendix


def test_every_picture_and_chart_has_an_alternative_text(full_html: str) -> None:
    page = page_reader.read(full_html)
    assert len(page.all("img")) > 20
    assert all(e.attributes.get("alt") for e in page.all("img"))
    drawings = page.all("svg")
    assert len(drawings) > 8
    assert all(e.attributes.get("aria-label") or e.attributes.get("aria-hidden") == "true" for e in drawings)


def test_tables_name_their_rows_and_columns(full_html: str) -> None:
    page = page_reader.read(full_html)
    assert all(e.attributes.get("scope") in {"row", "col"} for e in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))


def test_the_page_loads_and_runs_nothing(full_html: str) -> None:
    page = page_reader.read(full_html)
    policy = next(e.attributes["content"] for e in page.all("meta") if "http-equiv" in e.attributes)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert all(e.attributes["src"].startswith("data:image/png;base64,") for e in page.all("img"))
    assert not page.all("script") and not page.all("link") and not page.all("iframe")
    assert not re.search(r"https?:|url\(|@import|\bon\w+=", full_html)
    assert not [name for e in page.elements for name in e.attributes if name.startswith("on") or name == "style"]


def test_the_same_run_gives_the_same_bytes(full_run: Path, full_html: str, tmp_path: Path) -> None:
    assert html_of(tmp_path / "again").encode() == full_html.encode()


@pytest.mark.parametrize(
    ("exit_code", "kind", "said"),
    [(2, "input", "could not run"), (3, "unknown_architecture", "Inconclusive"),
     (4, "unsafe_checkpoint", "cannot be opened safely"), (130, "cancelled", "interrupted")],
)  # fmt: skip
def test_an_audit_that_stopped_early_has_a_report(tmp_path: Path, exit_code: int, kind: str, said: str) -> None:
    # Given a result in which every part is null
    error = ErrorRecord(kind=kind, what="The reason it stopped.", next_step="Give --arch torchvision:resnet18.")
    # When it is rendered
    page = page_reader.read(html_of(tmp_path, runs.stopped(exit_code, error), evidence=False))
    # Then the cover says so, with the reason and the next step
    cover = page.all("header")[0].text
    assert said in cover
    assert error.what in cover and error.next_step in cover
    assert error.next_step in page.by_id("summary").text
    assert [e.attributes["id"] for e in page.all("section")] == list(SECTIONS)


@pytest.mark.parametrize("label", ["no_evidence", "inconclusive"])
def test_no_report_calls_a_model_safe_or_clean(tmp_path: Path, label: str) -> None:
    verdict = Verdict(label=label, score=0.1, reasons=["Nothing stands out."],  # type: ignore[arg-type]
                      per_class=runs.per_class(4, target_cost=None))  # fmt: skip
    result = runs.badnets(verdict=verdict, triggers=[], attention=None, unlearning=None, verification=None, exports=[])
    text = page_reader.read(html_of(tmp_path, result)).text
    expected = {"no_evidence": "No evidence of a backdoor", "inconclusive": "Inconclusive"}[label]
    assert expected in text
    assert "Backdoor found" not in text
    assert not re.search(r"model is (safe|clean)|safe model|clean model|is safe\b", text, re.IGNORECASE)


def test_not_removed_when_a_check_failed_whatever_passed_claims(tmp_path: Path) -> None:
    complete = runs.badnets()
    assert complete.verification is not None
    failed = Check(name="fresh_search", passed=False, measured="6.1", allowed="at least 36.8")
    verification = replace(complete.verification, checks=[*complete.verification.checks, failed], passed=True)
    page = page_reader.read(html_of(tmp_path, runs.badnets(verification=verification, exports=[])))
    cover = page.all("header")[0].text
    assert "Not removed" in cover
    assert "Sanitized and verified" not in cover
    assert "Do not deploy this model" in page.by_id("summary").text
    assert "counts that as not removed" in page.by_id("remediation").text


def test_found_and_not_attempted(tmp_path: Path) -> None:
    result = runs.badnets(unlearning=None, verification=None, exports=[], attention=None)
    assert "Sanitizing was not attempted" in page_reader.read(html_of(tmp_path, result)).all("header")[0].text


HOSTILE = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7*7 }}{% raw %}", "</style><h1>pwned</h1>",
    "\x1b[31mred\x07", "safe\N{RIGHT-TO-LEFT OVERRIDE}exe.tp", "zero\N{ZERO WIDTH SPACE}width", "]]></svg><script>",
    "& &lt;b&gt; '", "x" * 5000,
]  # fmt: skip


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    # Given a run whose every free text is hostile
    complete = runs.badnets()
    assert isinstance(complete.images, ImageSet) and isinstance(complete.architecture, Architecture)
    assert complete.artifact is not None and complete.verdict is not None and complete.file_safety is not None
    bad = "</title><script>alert(2)</script>\N{LEFT-TO-RIGHT OVERRIDE}"
    result = runs.badnets(
        images=replace(complete.images, class_names=HOSTILE, notices=[bad], path=bad),
        artifact=replace(complete.artifact, path=f"models/{bad}", format=bad, sha256=bad),
        architecture=replace(complete.architecture, name=bad, how=bad),
        verdict=replace(complete.verdict, reasons=[bad], untested=[bad], mapping={bad: 3},
                        calibration={bad: {bad: [bad]}},
                        per_class=[replace(e, family=bad) for e in complete.verdict.per_class]),
        file_safety=replace(complete.file_safety, stubbed=[bad]),
        run=replace(complete.run, argv=[bad], seconds={bad: 3.0}, device=bad), limits=[bad], reproduce=bad,
        errors=[ErrorRecord(kind=bad, what=bad, next_step=bad)],
    )  # fmt: skip
    # When it is rendered
    html = html_of(tmp_path, result)
    page = page_reader.read(html)
    # Then nothing became markup, nothing runs, and nothing reorders the text
    assert not page.all("script")
    assert not [name for e in page.elements for name in e.attributes if name.startswith("on")]
    assert all(e.attributes["src"].startswith("data:image/png") for e in page.all("img"))
    assert [e.text.strip() for e in page.all("h1")] != ["pwned"] and len(page.all("h1")) == 1
    assert not set(html) & {"\x1b", "\x07", "\N{RIGHT-TO-LEFT OVERRIDE}", "\N{LEFT-TO-RIGHT OVERRIDE}",
                            "\N{ZERO WIDTH SPACE}"}  # fmt: skip
    assert "<script>alert(1)</script>" in page.text
    assert "49" not in [name for name in page.text.split() if "{{" in name]
    assert "x" * 60 not in page.by_id("verdict").text


def test_a_given_trigger_is_not_called_a_verdict(tmp_path: Path) -> None:
    page = page_reader.read(html_of(tmp_path, runs.badnets(verdict=None)))
    cover = page.all("header")[0].text
    assert "No verdict: the trigger was given" in cover and "Sanitized and verified" in cover
    assert "Backdoor found" not in cover


def test_a_thousand_classes_stay_readable(tmp_path: Path) -> None:
    complete = runs.badnets()
    assert complete.verdict is not None
    wide = replace(complete.verdict, per_class=runs.per_class(2, target_cost=5.0, num_classes=1000))
    html = html_of(tmp_path, runs.badnets(verdict=wide))
    assert "986 costlier classes not drawn" in html
    assert "the 100 most suspicious of 2000 rows" in html
    assert len(html) < 1_000_000


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", "not json", '{"schema_version": 1}', "[" * 100_000,
     '{"schema_version": "1.0", "tool": null, "run": null}'],
)  # fmt: skip
def test_a_malformed_result_is_one_clear_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "result.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        render(tmp_path)
    assert "result.json" in caught.value.what and caught.value.next_step
    assert not (tmp_path / "report.html").exists()


def test_a_leaf_of_the_wrong_type_is_named(tmp_path: Path) -> None:
    runs.write_run(tmp_path, evidence=False)
    plain = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    for value in ("<b>", [1], {"a": 1}, True, 1e999):
        plain["verdict"]["score"] = value
        (tmp_path / "result.json").write_text(json.dumps(plain), encoding="utf-8")
        with pytest.raises(InputError, match=r"result\.verdict\.score is not a finite number"):
            render(tmp_path, pdf=False)


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    runs.write_run(tmp_path, replace(runs.badnets(), schema_version="2.0"), evidence=False)
    with pytest.raises(InputError, match=r"schema version 2\.0"):
        render(tmp_path, pdf=False)


def test_no_run_and_nowhere_to_write(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        render(tmp_path / "nothing")
    runs.write_run(tmp_path, evidence=False)
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        render(tmp_path, pdf=False)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_rendering_loads_no_torch(full_run: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from auditor.report import render;"
        "render(Path(sys.argv[1]), pdf=False);"
        "sys.exit(sorted(m for m in sys.modules if m.split('.')[0] in {'torch', 'weasyprint', 'torchvision'}) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(full_run)], capture_output=True, text=True, timeout=120,
                          check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
