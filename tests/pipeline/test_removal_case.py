"""Which families a removal draws further triggers from."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from auditor.domain import Change, ClassEvidence, Verdict
from auditor.metrics import wilson
from auditor.pipeline.stages import _say_how_few, near_families, null_costs


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


@pytest.mark.parametrize(("verify", "tried", "said"), [(10, 9, "fewer than 20 images"), (30, 3, "verified on 3 images"), (30, 28, "")])
def test_too_few_images_to_tell_a_rate_are_a_limit(verify: int, tried: int, said: str) -> None:
    limits: list[str] = []
    session = SimpleNamespace(split=SimpleNamespace(verify=list(range(verify))), limit=limits.append)
    measured = SimpleNamespace(attack_success_rate=Change(before=wilson(tried, tried), after=wilson(0, tried)))
    _say_how_few(session, measured)  # type: ignore[arg-type]
    assert len(limits) == bool(said) and all(said in line for line in limits)
