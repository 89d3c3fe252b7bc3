"""Charts mark what stands out without relying on colour, and survive extreme numbers."""

from __future__ import annotations

import math
import re

import pytest
import report_runs as runs
from markupsafe import Markup

from auditor.domain import Change, ClassEvidence, Interval
from auditor.report import curves, figures
from auditor.report.log import SearchCurve
from auditor.report.svg import LogScale
from auditor.report.text import ClassNames

NAMES = ClassNames(runs.CLASSES)


def evidence(costs: list[float | None]) -> list[ClassEvidence]:
    return [ClassEvidence(target_class=i, family="patch", cost=c, attack_success_rate=1.0) for i, c in enumerate(costs)]


def test_the_target_is_a_diamond_with_the_word_beside_it() -> None:
    drawn = figures.class_costs(evidence([70.0, 80.0, 5.2, 75.0]), "patch", [2], NAMES)
    assert drawn.count("<polygon") == 1 and drawn.count("<circle") == 3
    assert "target, 5.2" in drawn and "median 72.5" in drawn
    assert "target 2 (bird) 5.2" in drawn


def test_without_a_target_nothing_is_singled_out() -> None:
    drawn = figures.class_costs(evidence([70.0, 80.0, 5.2]), "patch", [], NAMES)
    assert "<polygon" not in drawn and "target" not in drawn


def test_a_cheaper_class_lies_further_left() -> None:
    drawn = figures.class_costs(evidence([10.0, 100.0, 1000.0]), "patch", [], NAMES)
    xs = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', drawn)]
    assert xs == sorted(xs) and xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.05)


@pytest.mark.parametrize("costs", [[], [None, None], [0.0, -3.0], [1e-300, 1e300], [5.0], [5.0, 5.0], [1e-9, None]])
def test_extreme_costs_stay_on_the_paper(costs: list[float | None]) -> None:
    drawn = figures.class_costs(evidence(costs), "patch", [0], NAMES)
    assert isinstance(drawn, Markup) and "nan" not in drawn.lower().replace("name", "") and "inf" not in drawn
    numbers = [float(x) for x in re.findall(r'\b(?:cx|x1|x2|x)="(-?[\d.]+)"', drawn)]
    assert all(-120 <= x <= figures.WIDTH for x in numbers)


def test_labels_are_escaped() -> None:
    names = ClassNames(["</text><script>", "b"])
    drawn = figures.class_costs(evidence([1.0, 2.0]), "patch", [0], names, title="<b>")
    assert "<script>" not in drawn and "<b>" not in drawn and "&lt;b&gt;" in drawn


def test_before_and_after_differ_in_shape() -> None:
    change = Change(before=runs.rate(27, 27), after=runs.rate(1, 27))
    drawn = figures.rate_changes([("Trigger works", change)])
    assert drawn.count("<circle") == 2 and drawn.count("<rect") == 2  # each with its legend
    assert "100.0\N{NO-BREAK SPACE}% before, 3.7\N{NO-BREAK SPACE}% after" in drawn
    empty = figures.rate_changes([("Trigger works", Change(before=runs.rate(0, 0)))])
    assert empty.count("not measured") >= 2


def test_undefined_attention_says_so() -> None:
    drawn = figures.attention_shares([("Suspect", "hollow", Interval(mean=None, low=None, high=None, count=0))])
    assert "undefined" in drawn


def test_log_ticks_are_round_and_inside() -> None:
    for values in ([1.0, 2.0], [3.0, 70.0], [1e-5, 1e5], [4.0, 4.0], [1e-300, 1e300]):
        scale = LogScale(values, 0, 100)
        ticks = scale.ticks()
        assert 2 <= len(ticks) <= 5
        assert all(scale.low <= math.log10(t) <= scale.high for t in ticks)


def test_curves_need_something_to_draw() -> None:
    assert curves.search_costs(SearchCurve(family="patch", costs={0: [(0, None), (1, None)]}), [], NAMES) is None
    assert curves.stage_seconds({}) is None


def test_each_outcome_sign_has_its_own_shape() -> None:
    signs = {shape: figures.mark(shape) for shape in ("found", "held", "unknown", "none")}
    assert len(set(signs.values())) == 4
    assert all('aria-hidden="true"' in sign for sign in signs.values())
