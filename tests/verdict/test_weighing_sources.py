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
from auditor.metrics import wilson
from auditor.search.all_to_all import Shift
from auditor.search.sources import SourceSearch, search_sources
from auditor.suspect import Suspect
from auditor.verdict.decision import ALL_TO_ALL_UNTESTED, SOURCE_UNTESTED, Decision
from auditor.verdict.sources import (
    SHIFT_RATIO,
    SourceLead,
    best_first,
    is_near_permutation,
    standing_shift,
    weigh_steps,
    with_sources,
)
from auditor.verdict.weighing_pairs import weigh_pairs


def shift(step: int, cost: float, works: bool = True) -> Shift:
    return Shift(step=step, cost=cost, flip_share=0.9 if works else 0.1, parameters={})


@functools.cache
def searched(make: Callable[[], Suspect]) -> SourceSearch:
    images, labels = planted_images(60)
    return drain(search_sources(make(), images, labels, seed=0, control=Control(), pairs_on=(images, labels)))


@functools.cache
def weighed(make: Callable[[], Suspect], *targets: int) -> tuple[SourceSearch, list[SourceLead]]:
    found, every = searched(make), planted_images(60)
    leads = weigh_steps(make(), found, *planted_images(36, 1))
    leads += drain(weigh_pairs(make(), found, *every, seed=0, control=Control(), targets=targets or None))
    return found, best_first(leads)


def decision(label="no_evidence", score=0.2) -> Decision:
    return Decision(verdict=Verdict(label=label, score=score, untested=["Something else.", SOURCE_UNTESTED, ALL_TO_ALL_UNTESTED], reasons=["Nothing."]))


@pytest.mark.parametrize(("costs", "step"), [
    ([(1, 0.8, True), (2, 0.9 * SHIFT_RATIO, True), (3, 1.2, False)], 2),  # the median of the others is 1
    ([(1, 0.8, True), (2, 1.1 * SHIFT_RATIO, True), (3, 1.2, False)], None),  # honest steps differ as much
    ([(1, 0.2, True), (2, 0.1, True), (3, 1.0, False), (4, 1.0, False)], 2),  # twice the step can work too
    ([(1, 1.0, False), (2, 0.9 * SHIFT_RATIO, False)], None),  # it does not work
    ([(1, 0.0, True), (2, 0.0, True)], None),  # a network that any trigger moves every way
    ([(2, 0.1, True)], None),  # nothing to compare it with
    ([], None),
])  # fmt: skip
def test_a_step_stands_out_by_its_cost_beside_the_others(costs, step) -> None:
    found = standing_shift([shift(*one) for one in costs])
    assert (found[0].step if found else None) == step


def test_a_source_specific_backdoor_is_named_with_its_source_and_target() -> None:
    found, leads = weighed(source_specific)
    said = with_sources(decision(), found, leads, ["zero", "one"]).verdict
    assert (said.label, said.kind) == ("backdoored", "source_specific")
    assert said.source_classes == [SOURCE] and said.target_classes == [TARGET] and said.mapping == {str(SOURCE): TARGET}
    assert said.score is not None and said.score > 0.5 and said.calibration is None
    assert "From class 1 (one) alone a patch trigger leads to class 4" in said.reasons[0]
    assert said.reasons[-1] == "Of triggers that do the same to every class: nothing."
    assert "Something else." in said.untested and not {SOURCE_UNTESTED, ALL_TO_ALL_UNTESTED} & set(said.untested)


def test_of_two_pairs_from_one_source_both_targets_are_named_and_the_furthest_is_where_it_leads() -> None:
    found, (lead,) = weighed(source_specific)
    nearer = replace(lead, standing=lead.standing / 2, triggers=[replace(trigger, target_class=0) for trigger in lead.triggers])
    made = with_sources(decision(), found, best_first([nearer, lead]), [])
    assert made.verdict.target_classes == sorted([0, TARGET]) and made.verdict.mapping == {str(SOURCE): TARGET}
    assert list(dict.fromkeys(t.target_class for t in made.triggers)) == [TARGET, 0] and len(made.findings) == len(made.triggers)


def test_a_pair_that_its_images_refute_is_no_suspicion() -> None:
    """Of three images none flips: what stood out was chance. Of one that flips of two, nothing is known."""
    _, (lead,) = weighed(source_specific)
    rates = {hits_of: replace(lead, rates=[wilson(*hits_of)]) for hits_of in [(0, 3), (1, 3), (1, 2), (3, 3)]}
    assert [rates[k].refuted for k in rates] == [True, True, False, False]
    assert [rates[k].confirmed for k in rates] == [False, False, False, True]


def test_what_a_score_meant_is_not_said_of_another() -> None:
    found, leads = weighed(source_specific)
    before = decision()
    calibrated = replace(before.verdict, reasons=["Nothing.", "Of 32 honest models"], calibration={"bank": "b"})
    said = with_sources(replace(before, verdict=calibrated), found, leads, []).verdict
    assert said.calibration is None and not any("honest models" in reason for reason in said.reasons)


def test_an_all_to_all_backdoor_is_named_with_where_every_class_goes() -> None:
    found, leads = weighed(all_to_all)
    made = with_sources(decision(), found, leads, [])
    said = made.verdict
    assert (said.label, said.kind, said.source_classes) == ("backdoored", "all_to_all", [])
    assert said.mapping == {str(k): (k + STEP) % CLASSES for k in said_sources(said)} and len(said.mapping) > CLASSES / 2
    assert len(made.findings) == len(made.triggers) >= len(said.mapping)


def said_sources(said: Verdict) -> list[int]:
    return [int(source) for source in said.mapping]


def test_without_pairs_only_what_was_searched_for_counts_as_searched() -> None:
    found, leads = weighed(all_to_all)
    alone = replace(found, cost=np.full_like(found.cost, np.nan), with_pairs=False)
    again = weigh_steps(all_to_all(), alone, *planted_images(36, 1))
    assert [lead.kind for lead in again] == ["all_to_all"] and again[0].rate == leads[0].rate
    said = with_sources(decision(), alone, again, []).verdict
    assert said.kind == "all_to_all" and SOURCE_UNTESTED in said.untested and ALL_TO_ALL_UNTESTED not in said.untested


def test_an_honest_network_stays_without_evidence() -> None:
    found, leads = weighed(honest)
    assert not leads and with_sources(decision(), found, leads, []).verdict.label == "no_evidence"


def test_only_the_targets_asked_for_are_found() -> None:
    assert not weighed(source_specific, 0)[1]
    assert weighed(source_specific, TARGET)[1]


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
