"""Weighing a search by hand: leads, scores over all families together, and second targets."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from auditor.search.shared import SharedSearch
from auditor.search.synthesis import Candidate, SearchResult
from auditor.triggers import Trigger
from auditor.verdict.statistics import family_wise_p, outlier_scores
from auditor.verdict.weighing import LEAD_BELOW, SECOND_TARGET_FACTOR, SIGNIFICANCE, Suspicion, weigh

# Costs alike: their spread is below the floor of 0.15, so that z = -log(relative cost) / 0.15.
EVEN = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]


def candidate(family: str, target: int, cost: float | None) -> Candidate:
    side = (1, 2, 2)
    parameters = {"patch": {"mask": np.zeros(side[1:], np.float32), "pattern": np.zeros(side, np.float32)},
                  "additive": {"delta": np.zeros(side, np.float32)}}[family]  # fmt: skip
    trigger = Trigger(family=family, target_class=target, parameters=parameters)
    return Candidate(trigger=trigger, cost=cost, flip_share=0.9)


def search(patch: list[float | None], additive: list[float | None] | None = None, **parts: object) -> SearchResult:
    """A search in which class k cost `patch[k]` and `additive[k]`."""
    families = {"patch": patch} if additive is None else {"patch": patch, "additive": additive}
    candidates = [candidate(name, k, cost) for name, costs in families.items() for k, cost in enumerate(costs)]
    return SearchResult(candidates=candidates, **parts)  # type: ignore[arg-type]


def costs(changed: dict[int, float | None] | None = None) -> list[float | None]:
    return [(changed or {}).get(k, cost) for k, cost in enumerate(EVEN)]


def suspects(found: SearchResult) -> list[Suspicion]:
    return weigh(found)[1]


# Leads ---------------------------------------------------------------------------------------------


def test_leads_are_the_families_that_find_the_class_cheap_the_strongest_first() -> None:
    [suspicion] = suspects(search(costs({3: 0.3}), costs({3: 0.1})))
    assert suspicion.target_class == 3
    assert [lead.candidate.family for lead in suspicion.leads] == ["additive", "patch"]
    assert [lead.relative_cost for lead in suspicion.leads] == pytest.approx([0.1, 0.3])
    assert suspicion.leads[0].z > suspicion.leads[1].z and suspicion.leads[0].confirmation is None


@pytest.mark.parametrize(("cost", "families"), [(0.79, 2), (0.81, 1), (1.5, 1), (None, 1)])
def test_a_family_in_which_the_class_is_not_cheap_is_no_lead(cost: float | None, families: int) -> None:
    [suspicion] = suspects(search(costs({3: 0.1}), costs({3: cost})))
    assert pytest.approx(0.8) == LEAD_BELOW
    assert [lead.candidate.family for lead in suspicion.leads] == ["patch", "additive"][:families]


def test_the_null_of_a_lead_is_the_median_of_the_others_that_have_a_cost() -> None:
    [suspicion] = suspects(search([0.1, 2.0, 2.1, 2.2, 2.3, None, None]))
    [lead] = suspicion.leads
    assert lead.null_cost == pytest.approx(np.median([2.0, 2.1, 2.2, 2.3]))
    assert lead.relative_cost == pytest.approx(0.1 / lead.null_cost)


# Stouffer's sum ------------------------------------------------------------------------------------


def z_of(relative: float) -> float:
    """Score of a class at this share of nine others that all cost the same."""
    return float(outlier_scores(np.array([relative] + [1.0] * 9))[0])


def test_a_class_a_little_cheap_in_every_family_stands_out_by_the_sum() -> None:
    # Given z = 3.1 in each family: one alone is not significant among 30 tests, the sum is.
    little = math.exp(-3.1 * 0.15)
    z = z_of(little)
    assert z == pytest.approx(3.1) and family_wise_p(z, 30) > SIGNIFICANCE
    [suspicion] = suspects(search(costs({5: little}), costs({5: little})))
    assert suspicion.target_class == 5 and suspicion.z == pytest.approx(2 * z / math.sqrt(2))
    assert suspicion.p_value == pytest.approx(family_wise_p(suspicion.z, 30))
    # But where the two families find different classes a little cheap, neither stands out.
    assert suspects(search(costs({5: little}), costs({6: little}))) == []


def test_a_class_cheap_in_one_family_is_not_diluted_by_the_others() -> None:
    [suspicion] = suspects(search(costs({5: 0.2}), costs({5: 3.0})))
    assert suspicion.z == pytest.approx(z_of(0.2)) and len(suspicion.leads) == 1


def test_tests_are_counted_over_classes_families_and_their_sum() -> None:
    one, _ = weigh(search(costs({5: 0.5})))[:2]
    two, _ = weigh(search(costs({5: 0.5}), costs()))[:2]
    own = next(e for e in two if (e.family, e.target_class) == ("patch", 5))
    z = z_of(0.5)
    assert one[5].anomaly_index == own.anomaly_index == pytest.approx(z)
    assert one[5].p_value == pytest.approx(family_wise_p(z, 10))
    assert own.p_value == pytest.approx(family_wise_p(z, 30))


def test_a_family_without_any_trigger_leaves_the_other_to_judge() -> None:
    evidence, [suspicion] = weigh(search(costs({5: 0.1}), [None] * 10))[:2]
    assert suspicion.target_class == 5 and suspicion.z == pytest.approx(z_of(0.1))
    assert [lead.candidate.family for lead in suspicion.leads] == ["patch"]
    assert all(e.anomaly_index is None and e.p_value is None for e in evidence if e.family == "additive")


def test_a_class_without_a_cost_is_never_suspicious() -> None:
    evidence, found = weigh(search(costs({5: None})))[:2]
    assert found == [] and evidence[5].cost is None and (evidence[5].anomaly_index or 0) <= 0


def test_a_lead_without_a_null_is_no_lead_and_no_warning() -> None:
    # Given a family that found a trigger toward one class only: there is nothing to compare it with.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [suspicion] = suspects(search(costs({5: 0.1}), [0.1 if k == 5 else None for k in range(10)]))
    assert [lead.candidate.family for lead in suspicion.leads] == ["patch"]


# Second targets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("second", "targets"), [(0.10, [2, 7]), (0.12, [2, 7]), (0.13, [2]), (0.3, [2])])
def test_a_second_target_must_be_nearly_as_cheap(second: float, targets: list[int]) -> None:
    assert pytest.approx(1.25) == SECOND_TARGET_FACTOR
    found = search(costs({2: 0.1, 7: second}))
    assert [s.target_class for s in suspects(found)] == targets
    # And it stands out all the same in the evidence.
    assert (weigh(found)[0][7].p_value or 1) < SIGNIFICANCE


def test_second_targets_are_judged_across_families_by_their_share_of_the_null() -> None:
    # Given an additive family whose costs are a hundredth of the patch family's.
    additive: list[float | None] = [0.01] * 10
    near, far = list(additive), list(additive)
    near[7], far[7] = 0.0011, 0.002
    assert [s.target_class for s in suspects(search(costs({2: 0.1}), near))] == [2, 7]
    assert [s.target_class for s in suspects(search(costs({2: 0.1}), far))] == [2]


# Evidence ------------------------------------------------------------------------------------------


def test_a_class_that_a_family_never_finished_is_left_out() -> None:
    both = search(costs({5: 0.1}), costs())
    part = SearchResult(candidates=[c for c in both.candidates if (c.family, c.target_class) != ("additive", 9)])
    evidence, found = weigh(part)[:2]
    assert {e.target_class for e in evidence} == set(range(9)) and [s.target_class for s in found] == [5]


@pytest.mark.parametrize(("histogram", "share"), [([0, 0, 0, 6] + [1] * 6, 0.5), ([0] * 10, None)])
def test_evidence_names_the_share_of_the_shared_search(histogram: list[int], share: float | None) -> None:
    shared = SharedSearch(histogram=np.array(histogram), perturbation=np.zeros(0), images=12)  # type: ignore[arg-type]
    evidence, _ = weigh(search(costs(), shared=shared))[:2]
    assert evidence[3].shared_share == share


@pytest.mark.parametrize("found", [SearchResult(candidates=[]), search([0.1, 1.0, 1.0])])
def test_too_few_classes_are_no_suspicion(found: SearchResult) -> None:
    evidence, suspicions = weigh(found)[:2]
    assert suspicions == [] and len(evidence) == len(found.candidates)
    assert all(e.anomaly_index is None for e in evidence)
