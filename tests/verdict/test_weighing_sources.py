"""What stands out among pairs and steps, and what it makes of a verdict."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from planted import CLASSES, TARGET, planted_images
from planted_sources import SOURCE, STEP, all_to_all, honest, source_specific

from auditor.domain import Verdict
from auditor.events import Control, drain
from auditor.search.sources import Shift, SourceSearch, search_sources
from auditor.suspect import Suspect
from auditor.verdict.decision import UNTESTED, Decision
from auditor.verdict.sources import (
    SHIFT_RATIO,
    STANDS_OUT,
    SourceLead,
    is_near_permutation,
    low_side_z,
    pair_standings,
    polished,
    standing_shift,
    weigh_sources,
    with_sources,
)


def noise(classes: int = 10) -> np.ndarray:
    cost = np.exp(np.random.default_rng(0).normal(0, 0.3, (classes, classes)))
    np.fill_diagonal(cost, np.nan)
    return cost


def shift(step: int, cost: float, works: bool = True, family: str = "patch") -> Shift:
    return Shift(step=step, family=family, cost=cost, flip_share=0.9 if works else 0.1, parameters={})


@functools.cache
def searched(make: Callable[[], Suspect]) -> SourceSearch:
    images, labels = planted_images(60)
    return drain(search_sources(make(), images, labels, seed=0, control=Control()))


def weighed(make: Callable[[], Suspect], targets: list[int] | None = None) -> tuple[SourceSearch, list[SourceLead]]:
    return searched(make), weigh_sources(make(), searched(make), *planted_images(36, 1), targets)


def decision(label="no_evidence", score=0.2) -> Decision:
    return Decision(verdict=Verdict(label=label, score=score, untested=["Something else.", *UNTESTED], reasons=["Nothing."]))


def test_median_polish_takes_off_what_rows_and_columns_have_in_common() -> None:
    rows, columns = np.array([[1.0], [2.0], [4.0]]), np.array([[0.0, 3.0, 5.0]])
    values = rows + columns
    values[0, 2] += 7
    left = polished(values)
    assert left[0, 2] == pytest.approx(7) and np.abs(left).sum() == pytest.approx(7)


def test_low_side_scores_are_robust_deviations_below_the_median() -> None:
    values = np.array([[0.0, 1.0, 2.0], [3.0, 4.0, np.nan]])
    z = low_side_z(values)  # median 2, median absolute deviation 1
    assert z[0, 0] == pytest.approx(2 / 1.4826) and np.isnan(z[1, 2])


def test_a_pair_must_be_cheap_and_cheaper_than_the_way_back() -> None:
    one_way, both_ways = noise(), noise()
    one_way[2, 7] *= 0.05
    both_ways[2, 7] *= 0.05
    both_ways[7, 2] *= 0.05
    assert pair_standings(one_way)[2, 7] > STANDS_OUT
    assert np.nanmax(pair_standings(both_ways)) < STANDS_OUT
    assert np.nanmax(pair_standings(noise())) < STANDS_OUT


def test_a_matrix_without_costs_has_no_standing() -> None:
    assert np.isnan(pair_standings(np.full((4, 4), np.nan))).all()


@pytest.mark.parametrize(("costs", "step"), [
    ([(1, 1.0, True), (2, 0.9 * SHIFT_RATIO, True), (3, 1.2, False)], 2),
    ([(1, 1.0, True), (2, 1.1 * SHIFT_RATIO, True), (3, 1.2, False)], None),  # honest steps differ as much
    ([(1, 1.0, False), (2, 0.9 * SHIFT_RATIO, False)], None),  # it does not work
    ([(2, 0.1, True)], None),  # nothing to compare it with
    ([], None),
])  # fmt: skip
def test_a_step_stands_out_by_its_cost_beside_the_next_one(costs, step) -> None:
    found = standing_shift([shift(*one) for one in costs])
    assert (found[0].step if found else None) == step


def test_families_of_steps_are_compared_apart() -> None:
    mixed = [shift(1, 1.0), shift(2, 0.9), shift(1, 0.01, family="additive"), shift(2, 0.009, family="additive")]
    assert standing_shift(mixed) is None


def test_a_source_specific_backdoor_is_named_with_its_source_and_target() -> None:
    found, leads = weighed(source_specific)
    said = with_sources(decision(), found, leads, ["zero", "one"]).verdict
    assert (said.label, said.kind) == ("backdoored", "source_specific")
    assert said.source_classes == [SOURCE] and said.target_classes == [TARGET] and said.mapping == {str(SOURCE): TARGET}
    assert said.score is not None and said.score > 0.5 and said.calibration is None
    assert "From class 1 (one) alone a patch trigger leads to class 4" in said.reasons[0]
    assert "Something else." in said.untested and not set(UNTESTED) & set(said.untested)


def test_an_all_to_all_backdoor_is_named_with_where_every_class_goes() -> None:
    found, leads = weighed(all_to_all)
    made = with_sources(decision(), found, leads, [])
    said = made.verdict
    assert (said.label, said.kind, said.source_classes) == ("backdoored", "all_to_all", [])
    assert said.mapping == {str(k): (k + STEP) % CLASSES for k in said_sources(said)} and len(said.mapping) > CLASSES / 2
    assert len(made.findings) == len(made.triggers) >= len(said.mapping)


def said_sources(said: Verdict) -> list[int]:
    return [int(source) for source in said.mapping]


def test_an_honest_network_stays_without_evidence() -> None:
    found, leads = weighed(honest)
    assert not leads and with_sources(decision(), found, leads, []).verdict.label == "no_evidence"


def test_only_the_targets_asked_for_are_found() -> None:
    assert not weighed(source_specific, [0])[1]
    assert weighed(source_specific, [TARGET])[1]


def test_a_lead_that_does_not_hold_on_unseen_images_is_inconclusive() -> None:
    found, leads = weighed(source_specific)
    failed = [replace(lead, rates=[replace(rate, hits=0, rate=0.0) for rate in lead.rates]) for lead in leads]
    assert with_sources(decision(), found, failed, []).verdict.label == "inconclusive"


def test_a_search_cut_short_is_no_evidence_of_absence() -> None:
    found = SourceSearch(cost=np.full((CLASSES, CLASSES), np.nan), complete=False)
    said = with_sources(decision(), found, [], []).verdict
    assert said.label == "inconclusive" and any("the time ran out" in line for line in said.untested)


@pytest.mark.parametrize(("pairs", "answer"), [
    ({k: (k + 1) % 10 for k in range(10)}, True), ({k: k + 1 for k in range(6)}, True), ({1: 0}, False),
    (dict.fromkeys(range(1, 10), 0), False),  # every class to one target is no permutation
])  # fmt: skip
def test_most_classes_with_a_target_of_their_own_are_a_near_permutation(pairs, answer) -> None:
    assert is_near_permutation(pairs, 10) is answer
