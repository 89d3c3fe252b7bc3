"""Fills the Jinja2 templates with a result: one self-contained HTML page.

Templates come from the installed package, or from `reports/templates` of a checkout.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError
from markupsafe import Markup

from auditor.domain import AuditResult, Change, ClassEvidence, Interval, Verification, family_words
from auditor.errors import AuditorError
from auditor.report import curves as curve_charts
from auditor.report import figures, gallery, text, unlearning
from auditor.report.calibration import calibration_pairs
from auditor.report.log import Curves
from auditor.report.reading import Source
from auditor.report.shift import ShiftPanel, shift_panel
from auditor.report.triggers import leads
from auditor.report.words import Outcome, judge, really_passed, summarize

_HERE = Path(__file__).resolve().parent
TEMPLATE_FOLDERS = (_HERE / "templates", _HERE.parents[1] / "reports" / "templates")
MOST_ATTEMPT_CHARTS = 6
MOST_PROBES = 8
MOST_CLASS_ROWS = 100


@dataclass(frozen=True, kw_only=True)
class Charts:
    """Every chart of the report, drawn; lists are empty and values None where there is no data."""

    class_costs: list[Markup]
    fresh_costs: list[Markup]
    searches: list[Markup]
    attempts: list[Markup]
    watched: list[Markup]
    probes: list[Markup]
    rates: Markup | None
    attention: Markup | None
    stages: Markup | None


def render_html(source: Source, curves: Curves, run_folder: Path) -> str:
    """The whole page. Raises AuditorError when the templates are missing or broken."""
    result = source.result
    names = text.ClassNames(result.images.class_names if result.images else ())
    outcome = judge(result)
    shift = shift_panel(curves.attempts, run_folder)
    try:
        template = environment().get_template("report.html")
        return template.render(
            r=result,
            names=names,
            outcome=outcome,
            summary=summarize(result, outcome, names),
            charts=draw(result, curves, names, shift),
            shift=shift,
            triggers=gallery.trigger_panels(result, run_folder, names),
            attention=gallery.attention_panel(result, run_folder, names),
            knowledge=knowledge(),
            listed_classes=_most_suspicious(result),
            applies=_applies(result, outcome),
            result_sha256=source.sha256,
            passed=really_passed(result.verification),
            contradicts=result.verification is not None
            and result.verification.passed != really_passed(result.verification),
        )
    except TemplateError as error:
        raise AuditorError(
            f"The report template could not be filled: {error}", "Reinstall auditor; its templates are incomplete."
        ) from error


def environment() -> Environment:
    """The Jinja2 environment: autoescape always on, undefined names are errors."""
    made = Environment(
        loader=FileSystemLoader([str(folder) for folder in TEMPLATE_FOLDERS]),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    filters: dict[str, Any] = {
        "percent": text.percent, "number": text.number, "bytes": text.byte_size, "duration": text.duration,
        "words": text.words, "interval": text.interval_of, "count_of": text.count_of, "points": text.points,
        "pairs": text.flat_pairs, "calibration_pairs": calibration_pairs, "shorten": text.shorten,
        "family": lambda name: text.words(family_words(name)),
    }  # fmt: skip
    made.filters.update(filters)
    made.globals.update(mark=figures.mark, family_title=gallery.family_title, leads=leads)
    return made


def knowledge() -> dict[str, Any]:
    """The versioned file of taxonomies, references and glossary."""
    content = resources.files("auditor.report").joinpath("knowledge.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(content)
    return found


def _most_suspicious(result: AuditResult) -> list[ClassEvidence]:
    """The rows of the per-class table, those of the targets first: all of them, or the 100 that stand out most."""
    if result.verdict is None:
        return []
    targets, rows = result.verdict.target_classes, result.verdict.per_class
    if len(rows) <= MOST_CLASS_ROWS:
        return sorted(rows, key=lambda e: e.target_class not in targets)
    return sorted(rows, key=lambda e: -math.inf if e.anomaly_index is None else e.anomaly_index, reverse=True)[
        :MOST_CLASS_ROWS
    ]


def _applies(result: AuditResult, outcome: Outcome) -> dict[str, str]:
    """What this result says to each kind of taxonomy entry."""
    backdoor = "no evidence" if outcome.situation == "no_evidence" else "not decided"
    if outcome.has_backdoor:
        backdoor = "applies"
    safety = result.file_safety
    if safety is None:
        return {"backdoor": backdoor, "file": "not examined"}
    said = {"safe": "no evidence", "findings": "see findings", "dangerous": "applies"}
    return {"backdoor": backdoor, "file": said[safety.status]}


def draw(
    result: AuditResult, curves: Curves, names: text.ClassNames, shift: ShiftPanel | None = None
) -> Charts:
    """Draw every chart the result has data for."""
    verdict, verification = result.verdict, result.verification
    # Where every class is sent to another, none stands out among triggers that send all to one.
    targets = verdict.target_classes if verdict and verdict.kind != "all_to_all" else []
    per_class = verdict.per_class if verdict else []
    fresh = verification.fresh_search if verification else []
    costs = [
        figures.class_costs(per_class, family, targets, names, also=fresh) for family in figures.families(per_class)
    ]
    fresh_costs = [
        figures.class_costs(fresh, family, targets, names, also=per_class, title=f"{family_words(family)}, after")
        for family in figures.families(fresh)
    ]
    searches = [curve_charts.search_costs(curve, targets, names) for curve in curves.searches[:6]]
    attempts = _attempts(curves)
    closest = shift.curve if shift is not None else curves.attempts[-1] if curves.attempts else None
    watched = [unlearning.attention_chart(closest), unlearning.losses_chart(closest)] if closest is not None else []
    probes = [unlearning.relearning_chart(probe) for probe in verification.probes[:MOST_PROBES]] if verification else []
    return Charts(
        class_costs=costs,
        fresh_costs=fresh_costs,
        searches=[chart for chart in searches if chart is not None],
        attempts=attempts,
        watched=[chart for chart in watched if chart is not None],
        probes=[chart for chart in probes if chart is not None],
        rates=_rates(verification),
        attention=_attention(result),
        stages=curve_charts.stage_seconds(result.run.seconds),
    )


def _attempts(curves: Curves) -> list[Markup]:
    """The rates of the latest runs of the methods."""
    runs = Counter(curve.attempt for curve in curves.attempts)
    drawn = (
        unlearning.rates_chart(curve, unlearning.title_of(curve, alone=runs[curve.attempt] == 1))
        for curve in curves.attempts[-MOST_ATTEMPT_CHARTS:]
    )
    return [chart for chart in drawn if chart is not None]


def _rates(verification: Verification | None) -> Markup | None:
    if verification is None:
        return None
    rows: list[tuple[str, Change | None]] = [
        ("Clean accuracy", verification.clean_accuracy),
        ("Trigger works", verification.attack_success_rate),
        ("Recovered", verification.recovered_accuracy),
    ]
    return figures.rate_changes([(label, change) for label, change in rows if change is not None])


def _attention(result: AuditResult) -> Markup | None:
    seen = result.attention
    if seen is None or (seen.before is None and seen.after is None):
        return None
    rows: list[tuple[str, str, Interval]] = []
    if seen.before is not None:
        rows.append(("Suspect", "hollow", seen.before.energy))
    if seen.after is not None:
        rows.append(("Sanitized", "good", seen.after.energy))
    control = seen.before or seen.after
    if control is not None:
        rows.append(("random mask", "plain", control.random_mask))
        rows.append(("clean images", "plain", control.clean_images))
    return figures.attention_shares(rows)
