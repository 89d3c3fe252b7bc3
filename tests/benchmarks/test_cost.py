"""What a search costs: counted, with nothing left out."""

from __future__ import annotations

import pytest

from auditor.search.budgets import PROFILES
from benchmarks import cost


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Profiles of two steps: the counting is what is tested."""
    short = {name: cost.replace(budget, steps=2, refine_steps=0) for name, budget in PROFILES.items()}
    monkeypatch.setattr(cost, "PROFILES", short)


def test_the_parts_add_up_and_every_family_has_one() -> None:
    row = cost.measure(6, "quick", 20)
    assert sum(row["parts"].values()) == row["forward"] > row["backward"] > 0
    assert set(row["parts"]) == {"shared", *PROFILES["quick"].families} and row["searched"] == 6


def test_standard_searches_few_classes_for_all_to_all_too() -> None:
    assert "all to all" in cost.measure(6, "standard", 20)["parts"] and "all to all" not in cost.measure(17, "standard", 20)["parts"]


def test_many_classes_are_not_all_searched() -> None:
    assert cost.measure(100, "quick", 20)["searched"] < 40


def test_the_table_shows_what_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert cost.main(["--classes", "10", "--profiles", "quick", "--images", "20"]) == 0
    shown = capsys.readouterr().out
    assert "| 10 | 10 | quick | 20 |" in shown and "| 13,333 |" in shown and "shared" in shown
