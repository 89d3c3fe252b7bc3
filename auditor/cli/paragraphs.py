"""What an audit found, in lines for a terminal.

The verdict comes first, then the evidence for it, what was done, what was not, and where the
files are. The words are the report's; every rate carries its count and 95 % interval.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from auditor.domain import AuditResult, Change, TriggerFinding, Verification, family_words
from auditor.events import FileWritten
from auditor.normalizations import normalization_words
from auditor.report.text import ClassNames, byte_size, duration, in_words, number, points, words
from auditor.report.triggers import as_one, leads, moves_classes, rate_together
from auditor.report.words import judge
from auditor.request import Request

MOST_ROWS = 8
MOST_MOVES = 4
_MEANING = {
    0: "policy met", 1: "backdoor found and not removed", 2: "could not run", 3: "inconclusive",
    4: "the file cannot be opened safely", 130: "interrupted",
}  # fmt: skip
_STYLE = {"found": "bold red", "held": "bold green", "unknown": "bold yellow", "none": "bold"}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line: `lead` (a bullet or label) and `text` after `indent` spaces, in a rich style."""

    text: str
    lead: str = ""
    indent: int = 0
    style: str = ""


def summary(
    result: AuditResult, request: Request, written: Sequence[FileWritten], *, with_errors: bool = True
) -> list[Line]:
    """All lines of the summary."""
    names = ClassNames(result.images.class_names if result.images else ())
    parts = [
        _verdict(result, names),
        _subject(result),
        _listed("Why", result.verdict.reasons if result.verdict else []),
        _triggers(result, names),
        _removal(result),
        _listed("Not tested", result.verdict.untested if result.verdict else []),
        _listed("Limits", _limits(result)),
        _errors(result) if with_errors else iter(()),
        _files(result, request, written),
        _ending(result),
    ]
    lines: list[Line] = []
    for part in parts:
        found = list(part)
        if found and lines:
            lines.append(Line(text=""))
        lines.extend(found)
    return lines


def _verdict(result: AuditResult, names: ClassNames) -> Iterator[Line]:
    verdict = result.verdict
    if verdict is None and result.run.exit_code == 0 and not result.errors and result.verification is None:
        return
    outcome = judge(result)
    said = outcome.label
    if verdict is not None and verdict.label == "backdoored":
        kind = f" ({words(verdict.kind)})" if verdict.kind else ""
        said = f"Backdoor found{leads(verdict, names)}{kind}"
    yield Line(text=f"{said}.", style=_STYLE[outcome.mark])
    if verdict is None or verdict.label != "inconclusive":
        yield Line(text=f"{outcome.follow_up}.", style=_STYLE[outcome.follow_up_mark])
    if verdict is not None and verdict.source_classes:
        yield Line(text=f"Only images of {names.listed(verdict.source_classes)} are affected.")
    if verdict is not None and verdict.score is not None:
        how = "uncalibrated" if verdict.calibration is None else "calibrated"
        yield Line(text=f"Suspicion score {number(verdict.score)} of 1, {how}.")


def _subject(result: AuditResult) -> Iterator[Line]:
    if result.artifact is not None:
        found = result.artifact
        yield _labelled("file", f"{found.path}, {found.format}, {byte_size(found.bytes)}")
        yield _labelled("sha256", found.sha256)
    if result.file_safety is not None and result.file_safety.status != "safe":
        for finding in result.file_safety.findings[:MOST_ROWS]:
            yield _labelled(finding.severity, finding.message)
    if result.architecture is not None:
        made = result.architecture
        shape = "x".join(map(str, made.input_shape))
        yield _labelled("network", f"{made.name} ({made.how}), {made.num_classes} classes, input {shape}, "
                                   f"normalisation {normalization_words(made)}")  # fmt: skip
        if made.clean_accuracy is not None:
            yield _labelled("accuracy", f"{in_words(made.clean_accuracy)} on clean images")
    if result.images is not None:
        seen = result.images
        labelled = "labelled" if seen.labelled else "without labels"
        yield _labelled("images", f"{seen.count} {labelled}: {seen.work} to work with, {seen.verify} to verify")


def _triggers(result: AuditResult, names: ClassNames) -> Iterator[Line]:
    if not result.triggers:
        return
    yield _heading("Triggers")
    shown = as_one(result.triggers)
    for alike in shown[:MOST_ROWS]:
        yield Line(text=_trigger(alike, names), lead="- ", indent=2)
    if len(shown) > MOST_ROWS:
        yield Line(text=f"and {len(shown) - MOST_ROWS} more", indent=4)


def _trigger(alike: Sequence[TriggerFinding], names: ClassNames) -> str:
    found = alike[0]
    rate, where = rate_together(alike), f"toward {names(found.target_class)}"
    if found.source_classes:
        where += f" on images of {names.listed(found.source_classes)}"
    if moves_classes(alike):
        moves = [f"{names.listed(one.source_classes)} to {names(one.target_class)}" for one in alike]
        more = f" and {len(moves) - MOST_MOVES} more" if len(moves) > MOST_MOVES else ""
        where = f"that leads {', '.join(moves[:MOST_MOVES])}{more}"
    state = "" if found.confirmed else ", not confirmed"
    return f"{words(family_words(found.family))} {where}: works on {in_words(rate)} of unseen images, cost {number(found.cost)}{state}"


def _removal(result: AuditResult) -> Iterator[Line]:
    measured, method = result.verification, result.unlearning
    if measured is None and method is None:
        return
    yield _heading(f"Sanitizing with {words(method.method)}" if method is not None else "Verification")
    if measured is None:
        yield Line(text="did not finish", indent=2)
        return
    basis = {"held_out": "images held out from every stage before", "cross_fitted": "cross-fitted images"}
    yield Line(text=f"measured on {basis.get(measured.basis, words(measured.basis))}", indent=2)
    yield from _changes(measured)
    for check in measured.checks:
        state = "passed" if check.passed else "FAILED"
        said = f"{words(check.name)}: {check.measured} (allowed: {check.allowed})"
        yield Line(text=said, lead=f"{state}  ", indent=2, style="" if check.passed else "bold red")
    for probe in measured.probes[:MOST_ROWS]:
        state, style = ("WEAK  ", "bold yellow") if probe.is_weakness else ("firm  ", "")
        yield Line(text=f"{words(probe.name)}: {probe.finding}", lead=f"{state}  ", indent=2, style=style)


def _changes(measured: Verification) -> Iterator[Line]:
    rows: list[tuple[str, Change | None]] = [
        ("clean accuracy", measured.clean_accuracy),
        ("attack success rate", measured.attack_success_rate),
        ("recovered accuracy", measured.recovered_accuracy),
    ]
    for label, change in rows:
        if change is None:
            continue
        for when, rate in (("before", change.before), ("after", change.after)):
            if rate is not None:
                moved = f", {points(change)}" if when == "after" and change.before is not None else ""
                yield Line(text=f"{in_words(rate)}{moved}", lead=f"{label} {when}".ljust(28), indent=2)


def _files(result: AuditResult, request: Request, written: Sequence[FileWritten]) -> Iterator[Line]:
    kind = "model" if result.verification is None else "sanitized model"
    rows = [(f"{kind}, {export.format}", export.path) for export in result.exports]
    rows += [("report", event.path) for event in written if Path(event.path).name in ("report.html", "report.pdf")]
    rows = list(dict.fromkeys(rows))
    if not rows:
        return
    yield _heading("Files")
    for label, path in rows:
        yield Line(text=located(path, request), lead=label.ljust(30), indent=2)


def located(path: str, request: Request) -> str:
    """A path of a result from where the person stands: those of a run are relative to its folder."""
    if request.output is None or Path(path).is_absolute():
        return path
    inside = os.path.join(request.output, path)  # noqa: PTH118 - keeps the folder as it was typed
    return inside if Path(request.output).is_dir() and Path(inside).exists() else path


def _limits(result: AuditResult) -> list[str]:
    """The limits but for those that are said under Not tested."""
    untested = result.verdict.untested if result.verdict else []
    return [limit for limit in result.limits if limit not in untested]


def _errors(result: AuditResult) -> Iterator[Line]:
    if result.errors:
        yield _heading("Errors")
    for error in result.errors:
        yield Line(text=error.what, lead="- ", indent=2)
        if error.next_step:
            yield Line(text=error.next_step, indent=4)


def _ending(result: AuditResult) -> Iterator[Line]:
    code = result.run.exit_code
    took = f"{duration(result.cost.seconds)} on {result.run.device}; " if result.cost is not None else ""
    if code is not None:
        is_judged = result.verdict is not None or result.verification is not None
        said = _MEANING.get(code, "unknown") if code or is_judged else "done"
        if code == 1 and result.unlearning is None and result.verification is None:
            said = "backdoor found"
        yield Line(text=f"{took}exit code {code}: {said}")


def _listed(title: str, items: Sequence[str]) -> Iterator[Line]:
    if items:
        yield _heading(title)
    for item in items:
        yield Line(text=item, lead="- ", indent=2)


def _heading(title: str) -> Line:
    return Line(text=title, style="bold")


def _labelled(label: str, said: str) -> Line:
    return Line(text=said, lead=label.ljust(10))
