"""Which searches a profile makes, on networks whose backdoor minds where an image comes from."""

from __future__ import annotations

import numpy as np
import pytest
from planted import planted_images
from planted_sources import STEP, all_to_all, honest, source_specific

from auditor.domain import Verdict
from auditor.events import Control, drain
from auditor.pipeline import detecting
from auditor.pipeline.detecting import detect
from auditor.pipeline.session import Session, new_result
from auditor.request import Profile, Request
from auditor.suspect import Suspect
from auditor.verdict.decision import ALL_TO_ALL_UNTESTED, SOURCE_UNTESTED


def verdict(suspect: Suspect, *, profile: Profile = "standard", sources: bool = False, targets: list[int] | None = None) -> Verdict:
    images, labels = planted_images(96)
    every = np.arange(len(images))
    request = Request(model="planted", clean="planted", profile=profile, sources=sources, targets=targets)
    session = Session(request=request, control=Control(), result=new_result(request, "cpu"), suspect=suspect,
                      images=images, labels=labels, fit=every[:60], hold=every[60:])  # fmt: skip
    drain(detect(session))
    assert session.result.verdict is not None
    return session.result.verdict


def test_standard_finds_an_all_to_all_backdoor() -> None:
    found = verdict(all_to_all())
    assert (found.label, found.kind) == ("backdoored", "all_to_all")
    assert f"moves every class to that {STEP} further" in found.reasons[0]
    assert not {ALL_TO_ALL_UNTESTED, SOURCE_UNTESTED} & set(found.untested)


def test_where_targets_are_named_no_move_of_every_class_is_searched_for() -> None:
    found = verdict(all_to_all(), targets=[0])
    assert found.kind != "all_to_all" and ALL_TO_ALL_UNTESTED in found.untested


def test_quick_leaves_all_to_all_untested_and_says_so() -> None:
    found = verdict(all_to_all(), profile="quick")
    assert found.kind != "all_to_all" and {ALL_TO_ALL_UNTESTED, SOURCE_UNTESTED} <= set(found.untested)


@pytest.mark.parametrize(("sources", "kind"), [(False, None), (True, "source_specific")])
def test_a_backdoor_of_one_source_class_is_found_where_asked(sources: bool, kind: str | None) -> None:
    found = verdict(source_specific(), profile="quick", sources=sources)
    assert found.kind == kind and (SOURCE_UNTESTED in found.untested) is not sources


def test_standard_finds_a_backdoor_of_one_source_class_where_there_are_images_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verdict(source_specific()).kind == "source_specific"
    monkeypatch.setattr(detecting, "PAIRS_FROM", 1000)
    found = verdict(source_specific())
    assert found.kind is None and SOURCE_UNTESTED in found.untested and ALL_TO_ALL_UNTESTED not in found.untested


def test_an_honest_network_is_searched_for_both_and_stays_without_evidence() -> None:
    found = verdict(honest())
    assert found.label == "no_evidence" and not {ALL_TO_ALL_UNTESTED, SOURCE_UNTESTED} & set(found.untested)


def test_a_stop_while_pairs_are_looked_at_again_leaves_the_verdict_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_, control: Control, **__):  # type: ignore[no-untyped-def]
        control.stop()
        return []
        yield

    monkeypatch.setattr(detecting, "weigh_pairs", stopped)
    assert verdict(honest()).label == "inconclusive"
