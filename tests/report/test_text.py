"""Text and numbers as a reader sees them."""

from __future__ import annotations

import pytest
import report_runs as runs

from auditor.domain import Change
from auditor.report import text
from auditor.report.text import MINUS, NOTHING, REPLACEMENT, ClassNames

NARROW = "\N{NARROW NO-BREAK SPACE}"


@pytest.mark.parametrize("hidden", ["\x00", "\x1b", "\x7f", "\x9b", "\u202e", "\u2066", "\u200b", "\ufeff", "\ud800",
                                    "\ue000", "\U000e0041", "\u2028"])  # fmt: skip
def test_scrub_replaces_what_hides_or_reorders(hidden: str) -> None:
    assert text.scrub(f"a{hidden}b") == f"a{REPLACEMENT}b"


def test_scrub_keeps_languages_and_caps_length() -> None:
    assert text.scrub("Käse 猫 עברית\nnext\tcell") == "Käse 猫 עברית\nnext cell"
    assert len(text.scrub("x" * 10**6)) == text.LONGEST_TEXT + 2
    assert text.scrub_tree({"\x1b": ["\x1b", 1, None]}) == {REPLACEMENT: [REPLACEMENT, 1, None]}


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, NOTHING), (0, "0"), (5.2, "5.2"), (74.04, "74"), (0.98, "0.98"), (1234567, f"1{NARROW}234{NARROW}567"),
     (2.1e-06, f"2.10e{MINUS}06"), (-0.5, f"{MINUS}0.5"), (12345.6, "12346"), (float("nan"), NOTHING),
     (float("inf"), NOTHING),
     (0.001, "0.001"), (100.0, "100"), (99.99, "100"), (1e9, "1.00e+09")],
)  # fmt: skip
def test_numbers(value: float | None, said: str) -> None:
    assert text.number(value) == said


def test_class_names_fall_back_to_numbers() -> None:
    names = ClassNames(["cat", "", "2", "a  very\nlong " + "x" * 80])
    assert [names(i) for i in (0, 1, 2, -1, 99)] == ["0 (cat)", "class 1", "class 2", "class -1", "class 99"]
    assert len(names.bare(3)) == 40 and "\n" not in names.bare(3)
    assert names.listed(list(range(10)), most=2) == "0 (cat), class 1 and 8 more"


def test_points_show_the_sign() -> None:
    assert text.points(Change(before=runs.rate(27, 27), after=runs.rate(0, 27))) == f"{MINUS}100.0 points"
    assert text.points(Change(before=runs.rate(1, 4), after=runs.rate(2, 4))) == "+25.0 points"
    assert text.points(Change(before=runs.rate(1, 3), after=runs.rate(1, 3))) == "0.0 points"
    assert text.points(Change(before=runs.rate(0, 0), after=runs.rate(1, 3))) == NOTHING


def test_free_form_values_are_flattened() -> None:
    pairs = text.flat_pairs({"a_b": True, "c": None, "d": [0.5, 2], "e": {"f": 1e999}, "g": "x" * 999})
    assert pairs[:4] == [("a b", "yes"), ("c", NOTHING), ("d", "0.5, 2"), ("e", f"f {NOTHING}")]
    assert len(pairs[4][1]) == 400
    deep: object = 1
    for _ in range(900):
        deep = [deep]
    assert text.flat_pairs({"deep": deep}) == [("deep", "\N{HORIZONTAL ELLIPSIS}")]
    assert len(text.flat_pairs({str(i): i for i in range(100)})) == 41


def test_durations_and_sizes() -> None:
    assert text.duration(4.25) in {"4.2\N{NO-BREAK SPACE}s", "4.3\N{NO-BREAK SPACE}s"}
    assert text.duration(185) == "3 min 05 s"
    assert text.duration(7500) == "2 h 05 min"
    assert text.byte_size(999) == "999 bytes"
    assert text.byte_size(1_112_489) == "1.11 MB"
