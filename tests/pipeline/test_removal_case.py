"""Which families a removal draws further triggers from."""

from __future__ import annotations

import pytest

from auditor.domain import ClassEvidence, Verdict
from auditor.pipeline.stages import near_families, null_costs


def evidence(family: str, target: int, cost: float | None) -> ClassEvidence:
    return ClassEvidence(target_class=target, family=family, cost=cost, attack_success_rate=1.0)


def test_families_that_reach_a_target_cheaply_are_near() -> None:
    """Class 0 is the target: at half of the others' cost by a patch, at nine tenths by a smooth trigger."""
    costs = {"patch": 0.5, "additive": 0.9, "lowfreq": None, "feature": 0.1}
    per_class = [evidence(family, k, cost if k == 0 else 1.0) for family, cost in costs.items() for k in range(4)]
    verdict = Verdict(label="backdoored", score=0.9, target_classes=[0], per_class=per_class)

    assert null_costs(verdict) == pytest.approx(dict.fromkeys(costs, 1.0))
    assert near_families(verdict, null_costs(verdict)) == ["patch"]


def test_without_a_search_there_is_none() -> None:
    assert near_families(None, {}) == []
