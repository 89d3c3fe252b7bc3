"""From candidates to a verdict: by hand, and on the planted network and its honest twin."""

from __future__ import annotations

import numpy as np
import planted
import pytest
import torch

from auditor.events import Control, drain
from auditor.metrics import wilson
from auditor.search import FAMILIES
from auditor.search.budgets import PROFILES
from auditor.search.synthesis import Candidate, SearchResult, synthesize
from auditor.suspect import Suspect
from auditor.triggers import Trigger
from auditor.verdict.calibration import Bank, Scoring, Table
from auditor.verdict.confirmation import CONFIRMED_RATE, Confirmation, confirm, trigger_cost
from auditor.verdict.decision import Decision, decide, suspicion_score
from auditor.verdict.weighing import SIGNIFICANCE, weigh

IMAGES, LABELS = planted.planted_images(30, seed=5)


def patch(target: int, works: bool) -> Trigger:
    """The true patch, said to be toward `target`, or an empty one."""
    mask = planted.corner_mask().astype(np.float32) * works
    pattern = np.tile(np.array(planted.RED, np.float32)[:, None, None], (1, planted.SIDE, planted.SIDE))
    return Trigger(family="patch", target_class=target, parameters={"mask": mask, "pattern": pattern})


def additive(target: int) -> Trigger:
    delta = np.full((3, planted.SIDE, planted.SIDE), 0.01, np.float32)
    return Trigger(family="additive", target_class=target, parameters={"delta": delta})


def found(costs: dict[int, float | None], works: bool = True, **parts: object) -> SearchResult:
    """A search of the patch family that gave these costs; the cheap trigger is the true one."""
    candidates = [Candidate(trigger=patch(target, works), cost=cost, flip_share=1.0) for target, cost in costs.items()]
    return SearchResult(candidates=candidates, **parts)  # type: ignore[arg-type]


CHEAP = {0: 1.0, 1: 1.1, 2: 0.9, 3: 1.05, planted.TARGET: 0.02, 5: 0.97}
EVEN: dict[int, float | None] = {0: 1.0, 1: 1.1, 2: 0.9, 3: 1.05, 4: 0.95, 5: 0.97}


def judge(suspect: Suspect, search: SearchResult, **parts: object) -> Decision:
    return decide(suspect, search, IMAGES, LABELS, [f"name {k}" for k in range(6)], **parts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("hits", "total", "enough"), [(0, 0, False), (1, 1, True), (2, 3, False), (3, 4, True), (6, 9, False), (7, 9, True),
                                  (16, 21, False), (17, 21, True), (79, 100, False), (80, 100, True)]
)  # fmt: skip
def test_four_fifths_of_unseen_images_confirm_one_more_granted(hits: int, total: int, enough: bool) -> None:
    assert Confirmation(trigger=patch(0, True), cost=1.0, rate=wilson(hits, total)).confirmed is enough


def a_bank(rows: float | None) -> Bank:
    scoring = Scoring(scale={"patch": 1.0}, bias=-2.0, strongest=1.5, together=1.5, rows=0.5)
    known = Table(profile="standard", images=100, scoring=scoring, threshold=0.6, honest=[0.1], backdoored=[0.9], bases=1,
                  classes=(4, 10), pixels=(1, 2000), architectures=[])  # fmt: skip
    return Bank(table=known, rows_z=None if rows is None else np.eye(6)[planted.TARGET] * rows)


@pytest.mark.parametrize(("rows", "told"), [(None, False), (1.0, False), (4.24, True)])
def test_a_row_of_the_last_layer_is_a_reason_where_it_stands_out(rows: float | None, told: bool) -> None:
    verdict = judge(planted.planted(), found(CHEAP), bank=a_bank(rows)).verdict

    assert verdict.label == "backdoored" and verdict.calibration is not None
    assert any("the row of class 4 (outlier score 4.2) has a larger mean" in reason for reason in verdict.reasons) is told
    assert verdict.calibration["last_layer_row_scores"] == (None if rows is None else [0, 0, 0, 0, rows, 0])


def test_a_cheap_trigger_that_works_on_unseen_images() -> None:
    decision = judge(planted.planted(), found(CHEAP))

    verdict = decision.verdict
    assert (verdict.label, verdict.kind, verdict.target_classes) == ("backdoored", "all_to_one", [planted.TARGET])
    assert verdict.score is not None and 0.9 < verdict.score <= 1
    assert "name 4" in verdict.reasons[0] and "25 of 25" in verdict.reasons[0]
    assert [trigger.target_class for trigger in decision.triggers] == [planted.TARGET]
    [finding] = decision.findings
    assert finding.confirmed and finding.attack_success_rate.total == int((planted.TARGET != LABELS).sum())
    assert verdict.calibration is None
    assert verdict.untested


def test_an_outlier_alone_is_not_a_backdoor() -> None:
    """On the honest twin the same cheap trigger flips nothing new."""
    verdict = judge(planted.planted(0.0), found(CHEAP)).verdict

    assert (verdict.label, verdict.kind, verdict.target_classes) == ("inconclusive", None, [])
    assert any("not enough to call a backdoor" in reason for reason in verdict.reasons)


def test_costs_that_are_alike_are_no_evidence() -> None:
    decision = judge(planted.planted(), found(EVEN))

    assert decision.verdict.label == "no_evidence"
    assert decision.findings == decision.triggers == []
    assert decision.verdict.score is not None and decision.verdict.score < 0.5


@pytest.mark.parametrize("search", [
    found(EVEN, complete=False, skipped=["additive"]),
    found(dict.fromkeys(range(6))),
    found({0: 1.0, 1: 0.02}),
    SearchResult(candidates=[], complete=False, skipped=["patch", "additive"]),
])  # fmt: skip
def test_too_little_is_inconclusive(search: SearchResult) -> None:
    verdict = judge(planted.planted(), search).verdict

    assert verdict.label == "inconclusive"
    assert verdict.reasons
    assert all(any(name in line for line in verdict.untested) for name in search.skipped)


def test_only_targets_asked_for_are_found() -> None:
    assert judge(planted.planted(), found(CHEAP), targets=[planted.TARGET]).verdict.label == "backdoored"
    assert judge(planted.planted(), found(CHEAP), targets=[1]).verdict.target_classes == []


def test_evidence_covers_every_class_and_family() -> None:
    search = SearchResult(candidates=[
        *found(CHEAP).candidates, *(Candidate(trigger=additive(k), cost=0.1, flip_share=0.99) for k in range(6)),
    ])  # fmt: skip

    evidence, suspicions = weigh(search)[:2]

    assert sorted((e.family, e.target_class) for e in evidence) == sorted((f, k) for f in ("patch", "additive") for k in range(6))
    by_class = {e.target_class: e for e in evidence if e.family == "patch"}
    assert by_class[planted.TARGET].p_value is not None and by_class[planted.TARGET].p_value < SIGNIFICANCE
    assert all((e.p_value or 1) > SIGNIFICANCE for k, e in by_class.items() if k != planted.TARGET)
    assert [s.target_class for s in suspicions] == [planted.TARGET]
    assert suspicions[0].leads[0].relative_cost == pytest.approx(0.02 / np.median([1.0, 1.1, 0.9, 1.05, 0.97]))


def test_score_is_one_half_at_the_significance_level_and_rises() -> None:
    at_level = float(torch.special.ndtri(torch.tensor(1 - SIGNIFICANCE, dtype=torch.float64)))

    assert suspicion_score(at_level, 1) == pytest.approx(0.5)
    scores = [suspicion_score(z, 20) for z in (-5.0, 0.0, 2.0, 4.0, 8.0, 100.0)]
    assert scores == sorted(scores)
    assert 0 < scores[0] < scores[-1] <= 1


def test_confirmation_strengthens_but_stays_below_the_null() -> None:
    candidate = found(CHEAP).candidates[4]
    weak = Trigger(family="patch", target_class=4, parameters={
        **candidate.trigger.parameters, "mask": 0.5 * candidate.trigger.parameters["mask"],
    })  # fmt: skip
    own = float(weak.parameters["mask"].mean())

    confirmation = confirm(planted.planted(), Candidate(trigger=weak, cost=own, flip_share=1.0), 4 * own, IMAGES, LABELS)

    assert own <= confirmation.cost <= 4 * own
    assert confirmation.confirmed == ((confirmation.rate.rate or 0) >= CONFIRMED_RATE)
    assert confirmation.cost == pytest.approx(trigger_cost(FAMILIES["patch"], confirmation.trigger))


@pytest.mark.parametrize(("strength", "label"), [(4.0, "backdoored"), (0.0, "no_evidence")])
def test_the_planted_network_and_its_twin(strength: float, label: str) -> None:
    # Given a real search on 40 images
    suspect = planted.planted(strength)
    images, labels = planted.planted_images(40, seed=1)
    search = drain(synthesize(suspect, images, labels, classes=range(planted.CLASSES), budget=PROFILES["quick"], seed=0,
                              control=Control()))  # fmt: skip

    decision = judge(suspect, search)

    assert decision.verdict.label == label
    assert decision.verdict.target_classes == ([planted.TARGET] if strength else [])
    for trigger in decision.triggers:
        assert torch.isfinite(trigger.stamp(IMAGES)).all()
