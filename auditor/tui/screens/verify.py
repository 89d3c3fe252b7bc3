"""Verify and export: before and after, acceptance, ONNX parity, and what was written."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Footer, Static

from auditor.domain import AuditResult, Change, Check, Export
from auditor.report.text import NOTHING, byte_size, number
from auditor.report.words import judge, summarize
from auditor.tui import viewer
from auditor.tui.screens.base import StateScreen
from auditor.tui.state import RunState
from auditor.tui.text import DONE, FAILED, NOTE, STYLES, WARNING, interval_text, marked, rate_of, shown
from auditor.tui.widgets.heading import Heading
from auditor.tui.widgets.thumbnails import Column, Thumbnails
from auditor.tui.wording import MARKS, headline

TITLES = {
    "outcome": "Outcome", "rates-table": "Before and after: rate (count; 95 % interval)", "checks": "Acceptance",
    "attention": "Where the models look, trigger on", "files": "Files", "next": "What to do next",
}  # fmt: skip


class VerifyScreen(StateScreen):
    """The outcome of the whole run."""

    NAME = "verify"
    HELP_TEXT = (
        "The rates were measured on images that no stage before verification has touched, with their counts and "
        "95 % intervals. A model is called sanitized only if every check holds. The pictures show where the suspect "
        "and the sanitized model look when the trigger is on."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "open_report", "Open report", id="verify.open"),
        Binding("u", "app.show('unlearn')", "Unlearn again", id="verify.unlearn"),
        Binding("n", "app.new", "New audit", id="verify.new"),
        Binding("escape,b", "app.leave", "Back", key_display="esc", id="verify.back"),
    ]

    def compose(self) -> ComposeResult:
        yield Heading(4)
        with VerticalScroll(id="result"):
            yield Static(id="outcome", classes="panel")
            yield Static(id="rates-table", classes="panel")
            yield Static(id="checks", classes="panel")
            with Vertical(id="attention", classes="panel"):
                yield Thumbnails(empty="no heat-maps were recorded")
            yield Static(id="files", classes="panel")
            yield Static(id="next", classes="panel")
        yield Footer()

    def on_mount(self) -> None:
        for name, title in TITLES.items():
            self.query_one(f"#{name}").border_title = title
        self.query_one("#result").focus()

    def draw(self, state: RunState) -> None:
        self.query_one(Heading).draw(state)
        result = state.result
        if result is None:
            return
        self.query_one("#outcome", Static).update(outcome_words(state, result))
        verification = result.verification
        for name in ("rates-table", "checks"):
            self.query_one(f"#{name}").display = verification is not None
        if verification is not None:
            self.query_one("#rates-table", Static).update(rates_table(result))
            self.query_one("#checks", Static).update(Text("\n").join(map(check_line, verification.checks)))
        self._draw_attention(state)
        self.query_one("#files", Static).update(files_words(state, result))
        steps = summarize(result, judge(result), state.names).next_steps
        self.query_one("#next", Static).update(Text("\n").join(marked(NOTE, step) for step in steps))

    def _draw_attention(self, state: RunState) -> None:
        columns, labels = attention_columns(state)
        self.query_one("#attention").display = bool(columns)
        self.query_one(Thumbnails).draw(columns, labels)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return report_path(self.state) is not None if action == "open_report" else True

    def action_open_report(self) -> None:
        report = report_path(self.state)
        if report is None:
            self.notify("There is no report in this run yet.", severity="warning", markup=False)
        elif viewer.open_file(report):
            self.notify(f"Opening {shown(report)}", markup=False)
        else:
            self.notify(f"No viewer here. The report is {shown(report)}", timeout=15, markup=False)


def attention_columns(state: RunState) -> tuple[list[Column], list[str]]:
    """A column a sample: the suspect's heat-map above the sanitized model's, and what each answers."""
    columns = []
    for sample in state.evidence.samples:
        if sample.before is None or sample.after is None:
            continue
        said = [shown(state.names.bare(label), 24) for label in (sample.said, sample.said_after) if label is not None]
        columns.append(Column(pictures=[sample.before, sample.after], lines=[" to ".join(said)]))
    return columns, ["the suspect", "the sanitized model"]


def report_path(state: RunState) -> Path | None:
    """The HTML report of the run, where it is a plain file in the run folder."""
    report = Path(state.request.output or ".").absolute() / "report.html"
    try:
        return report if report.is_file() and not report.is_symlink() else None
    except OSError:
        return None


def outcome_words(state: RunState, result: AuditResult) -> Text:
    """What was found, what became of it, and errors with their next steps."""
    outcome = judge(result)
    mark, follow = MARKS[outcome.mark], MARKS[outcome.follow_up_mark]
    said = [Text.assemble((f"{mark} {outcome.label}", STYLES[mark]), headline(state))]
    said.append(Text(f"{follow} {outcome.follow_up}", style=STYLES[follow]))
    for error in result.errors[:4]:
        said += [marked(FAILED, error.what), Text(f"  {shown(error.next_step, 300)}")]
    said += [marked(NOTE, limit, 300) for limit in result.limits[:5]]
    if result.run.exit_code is not None:
        said.append(Text(f"As a command this ends with exit code {result.run.exit_code}.", style="dim"))
    return Text("\n").join(said)


def rates_table(result: AuditResult) -> Table:
    """Accuracy, attack success rate and attention, before and after, with counts and intervals."""
    table = Table(box=None, pad_edge=False, expand=True)
    for name in ("", "before", "after"):
        table.add_column(name, style="" if name else "dim", ratio=1 if name else None)
    verification = result.verification
    if verification is None:
        return table
    changes: list[tuple[str, Change | None]] = [
        ("clean accuracy", verification.clean_accuracy),
        ("trigger flips", verification.attack_success_rate),
        ("with trigger (RA)", verification.recovered_accuracy),
    ]
    for name, change in changes:
        if change is not None:
            table.add_row(Text(name), Text(rate_of(change.before)), Text(rate_of(change.after)))
    tar = verification.tar
    before, after = interval_text(tar.get("before")), interval_text(tar.get("after"))
    if (before, after) != (NOTHING, NOTHING):
        table.add_row(Text("attention (TAR)"), Text(before), Text(after))
    return table


def check_line(check: Check) -> Text:
    """One condition, whether it holds, and what was measured."""
    return marked(DONE if check.passed else FAILED, f"{check.name}: {check.measured} (allowed: {check.allowed})")


def files_words(state: RunState, result: AuditResult) -> Text:
    """The run folder, every exported model and the reports in it."""
    folder = _inside(state.request.output or "", ".")
    said = [Text.assemble(("run folder  ", "dim"), shown(folder))]
    said += [export_line(export) for export in result.exports[:10]]
    listed = {export.path for export in result.exports}
    named = [file for file in state.files if file.path not in listed and "evidence" not in Path(file.path).parts]
    said += [marked(DONE, f"{_inside(file.path, folder)}  {file.what}") for file in named[:10]]
    told = {_inside(file.path, folder) for file in named}
    reports = [name for name in ("report.html", "report.pdf") if name not in told and (Path(folder) / name).is_file()]
    said += [marked(DONE, f"{name}  report") for name in reports]
    if not reports and not any(name.startswith("report") for name in told):
        said.append(Text(f"no report yet: auditor report {shown(folder)} writes one", style="dim"))
    return Text("\n").join(said)


def _inside(path: str, folder: str) -> str:
    """The path relative to a folder, where it is in it."""
    place, root = Path(path).absolute(), Path(folder).absolute()
    return str(place.relative_to(root)) if place.is_relative_to(root) else path


def export_line(export: Export) -> Text:
    """One exported model: where, what, how large, its hash, and whether ONNX answers alike."""
    agreed = export.argmax_agreement
    parity = "" if agreed is None else f", parity: {agreed.hits} of {agreed.total} answers equal"
    if export.max_abs_logit_difference is not None:
        parity += f", logits within {number(export.max_abs_logit_difference)}"
    sign = DONE if "evidence" not in Path(export.path).parts else WARNING
    return marked(sign, f"{export.path}  {export.format}, {byte_size(export.bytes)}, sha256 {export.sha256[:16]}{parity}")
