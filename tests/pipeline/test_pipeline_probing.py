"""Only a model that passed is probed, and what wakes is a weakness of its verification."""

from __future__ import annotations

from dataclasses import replace

import planted
import pytest
from planted_session import session

from auditor.domain import Change, Verification
from auditor.events import Control, drain
from auditor.hardness import probing
from auditor.hardness.reactivation import Reactivation
from auditor.pipeline.probing import first_of_each_target, with_probes

PASSED = Verification(basis="held_out", clean_accuracy=Change(), attack_success_rate=Change(), passed=True)


@pytest.fixture(autouse=True)
def wider(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted network's margins are wide: so is the bound beside its trigger."""
    monkeypatch.setattr(probing, "Reactivation", lambda: Reactivation(epsilon=16 / 255))


def test_a_sleeping_backdoor_is_a_weakness_and_still_passes() -> None:
    given = session()
    found = drain(with_probes(given, planted.planted(0.5), PASSED))
    assert found.passed
    assert [p.name for p in found.probes] == ["relearning", "reactivation"]
    assert found.weaknesses == [p.finding for p in found.probes]
    assert given.result.limits == []


def test_what_is_gone_has_no_weakness() -> None:
    found = drain(with_probes(session(), planted.planted(0.0), PASSED))
    assert len(found.probes) == 2 and found.weaknesses == []


def test_a_model_that_did_not_pass_is_not_probed() -> None:
    failed = replace(PASSED, passed=False)
    assert drain(with_probes(session(), planted.planted(), failed)) is failed
    assert drain(with_probes(session(), None, None)) is None


def test_one_trigger_a_target_and_at_most_two_targets() -> None:
    other, third = (replace(planted.corner_trigger(), target_class=k) for k in (0, 1))
    given = session(planted.corner_trigger(), planted.corner_trigger(), other, third)
    assert [t.target_class for t in first_of_each_target(given)] == [planted.TARGET, 0, 1]
    found = drain(with_probes(given, planted.planted(0.0), PASSED))
    assert {p.target_class for p in found.probes} == {planted.TARGET, 0}
    assert not {planted.TARGET, 0, 1} & {k for p in found.probes for k in p.reference_classes}
    assert any("2 of 3 removed targets" in limit for limit in given.result.limits)


def test_no_time_is_a_limit() -> None:
    control = Control()
    control.stop()
    given = session(control=control)
    assert drain(with_probes(given, planted.planted(0.5), PASSED)).probes == []
    assert any("not fully tried" in limit for limit in given.result.limits)
