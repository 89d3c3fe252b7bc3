"""What unlearning a trigger costs beside others: on the planted network, and in words."""

from __future__ import annotations

import planted
import pytest
import torch

from auditor.domain import Verdict
from auditor.events import Control, Notice, drain
from auditor.search.budgets import PROFILES
from auditor.search.synthesis import SearchResult, synthesize
from auditor.verdict.removability import Removability, removability, with_removability

IMAGES, LABELS = planted.planted_images(48, seed=3)
HELD, _ = planted.planted_images(24, seed=4)


@pytest.fixture(scope="module")
def searched() -> SearchResult:
    found: SearchResult = drain(synthesize(planted.planted(), IMAGES, LABELS, classes=range(planted.CLASSES),
                                           budget=PROFILES["quick"], seed=0, control=Control()))  # fmt: skip
    return found


def test_the_planted_backdoor_comes_off_for_next_to_nothing(searched: SearchResult) -> None:
    suspect = planted.planted()
    before, events = suspect.state(), []
    body = removability(suspect, searched.candidates, planted.TARGET, "patch", IMAGES, LABELS, HELD, seed=0, control=Control())
    while True:
        try:
            events.append(next(body))
        except StopIteration as end:
            found = end.value
            break

    assert found is not None and found.is_cheap
    assert found.target_class == planted.TARGET and planted.TARGET not in found.others
    assert 0 <= found.cost <= 0.01 and len(events) == 1 + len(found.others)
    assert all(isinstance(event, Notice) for event in events)  # the unlearning is none of the audit's steps
    assert all(torch.equal(value, before[name]) for name, value in suspect.state().items())


def test_without_triggers_to_compare_nothing_is_said(searched: SearchResult) -> None:
    own = [c for c in searched.candidates if c.target_class == planted.TARGET]

    for candidates in ([], own):
        body = removability(planted.planted(), candidates, planted.TARGET, "patch", IMAGES, LABELS, HELD, seed=0, control=Control())
        assert drain(body) is None


@pytest.mark.parametrize(("cost", "meaning"), [
    (0.07, "as of something added"), (0.09, "the class's own features"), (0.01, "as of something added"),
])
def test_the_reason_gives_every_number(cost: float, meaning: str) -> None:
    verdict = with_removability(Verdict(label="backdoored", score=0.9, reasons=["first"]),
                                Removability(target_class=3, cost=cost, others={1: 0.08, 4: 0.123}))  # fmt: skip

    assert verdict.label == "backdoored" and verdict.score == 0.9
    assert verdict.reasons[0] == "first"
    assert f"class 3 costs {cost:.1%}" in verdict.reasons[1]
    assert "8.0% (class 1), 12.3% (class 4)" in verdict.reasons[1] and meaning in verdict.reasons[1]
