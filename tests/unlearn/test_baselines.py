"""Both settings of every baseline: named alike, run alike, and none of them part of `auto`."""

from __future__ import annotations

import dataclasses

from auditor.portfolio import plan
from auditor.unlearn import METHODS
from auditor.unlearn.baselines import BASELINES, PUBLISHED


def test_both_settings_have_the_name_they_are_registered_under() -> None:
    assert BASELINES.keys() == PUBLISHED.keys()
    for name in BASELINES:
        assert BASELINES[name].name == PUBLISHED[name].name == name
        assert METHODS[name] is BASELINES[name]
        assert type(BASELINES[name]) is type(PUBLISHED[name])
        assert dataclasses.asdict(BASELINES[name]) != dataclasses.asdict(PUBLISHED[name])  # type: ignore[call-overload]


def test_auto_uses_none_and_each_is_tried_once() -> None:
    assert not {method.name for method in plan("auto", {}, [], 100)} & set(BASELINES)
    assert all([method.name for method in plan(name, {}, [], 100)] == [name] for name in BASELINES)
