"""What the probes say, and when they say nothing."""

from __future__ import annotations

from dataclasses import replace

import planted
from sleepers import ASLEEP, subject

from auditor.domain import Probe
from auditor.events import Control, Notice, drain
from auditor.hardness import Subject, probe
from auditor.hardness.probing import wakes
from auditor.hardness.reactivation import Reactivation
from auditor.metrics import wilson

WITHIN = Reactivation(epsilon=16 / 255)


def probed(given: Subject) -> list[Probe]:
    return drain(probe(given, Control(), reactivation=WITHIN))


def test_both_probes_wake_a_sleeper() -> None:
    found = probed(subject(planted.planted(ASLEEP)))

    assert [p.name for p in found] == ["relearning", "reactivation"]
    assert all(p.is_weakness and p.target_class == planted.TARGET and p.family == "patch" for p in found)
    relearnt = found[0]
    assert (relearnt.attack_success_rate.hits, relearnt.attack_success_rate.total) == (20, 20)
    assert (relearnt.reference.hits, relearnt.reference.total) == (0, 60)
    assert relearnt.curve[relearnt.steps - 1] == 1.0 and relearnt.curve[relearnt.steps - 2] == 0.0
    assert "20 of 20 held-out images to class 4 and 0 of 60 to 3 classes" in relearnt.finding
    assert relearnt.finding.endswith("the backdoor wakes.")


def test_neither_wakes_what_is_not_there() -> None:
    found = probed(subject(planted.planted(0.0)))

    assert [p.is_weakness for p in found] == [False, False]
    assert all("does not stand out" in p.finding for p in found)
    assert found[0].curve == found[0].reference_curve  # it learns every class alike


def test_findings_are_told_while_it_runs() -> None:
    events = list(probe(subject(planted.planted(ASLEEP)), Control(), reactivation=WITHIN))
    assert [type(e) for e in events] == [Notice, Notice]
    assert {e.level for e in events if isinstance(e, Notice)} == {"warning"}


def test_a_stop_leaves_the_rest_out() -> None:
    control = Control()
    control.stop()
    assert drain(probe(subject(planted.planted()), control)) == []


def test_without_anything_to_compare_with_nothing_is_said() -> None:
    given = subject(planted.planted())
    everything = replace(given, targets=frozenset(range(planted.CLASSES)))
    assert everything.references == [] and probed(everything) == []
    own = given.held_labels == planted.TARGET
    assert probed(replace(given, held=given.held[own], held_labels=given.held_labels[own])) == []


def test_references_are_no_targets_nor_the_only_source() -> None:
    for seed in range(5):
        given = subject(planted.planted(), source_classes=[0], seed=seed)
        assert len(given.references) == 3
        assert not {0, planted.TARGET} & set(given.references)


def test_a_weakness_needs_a_working_backdoor_and_intervals_apart() -> None:
    nothing = wilson(0, 60)
    assert wakes(wilson(20, 20), nothing, [0.0, 0.0, 0.0])
    assert not wakes(wilson(9, 20), nothing, [0.0, 0.0, 0.0])  # too weak
    assert not wakes(wilson(12, 20), wilson(25, 60), [0.2, 0.3, 0.75])  # another class is quicker
    assert not wakes(wilson(2, 3), wilson(2, 9), [0.2, 0.2, 0.2])  # too few images to tell
