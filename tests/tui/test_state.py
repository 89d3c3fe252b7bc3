"""The state that the screens draw, built from events by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import recorded

from auditor.domain import ClassEvidence, Verdict
from auditor.events import AttemptFinished, Notice, SearchStep, SourceSearchStep, StageFinished, StageStarted
from auditor.request import Request
from auditor.tui.pictures import heat_maps, image
from auditor.tui.screens.finding import trigger_words
from auditor.tui.standings import Standings
from auditor.tui.state import RunState
from auditor.tui.widgets.rail import _line


def step(costs: list[float | None], *, family: str = "patch", classes: list[int] | None = None) -> SearchStep:
    targets = list(range(len(costs))) if classes is None else classes
    return SearchStep(family=family, step=1, steps=2, classes=targets, loss=[0.0] * len(costs),
                      attack_success_rate=[0.5] * len(costs), cost=costs)  # fmt: skip


def test_the_cheapest_class_next_to_its_family_comes_first() -> None:
    # Given: two families on different scales; class 2 is cheap in the dearer one
    standings = Standings()
    standings.follow(step([1.0, 1.0, 0.9, 1.1]))
    standings.follow(step([100.0, 110.0, 20.0, 105.0], family="additive"))
    # When
    first = standings.ranked()[0]
    # Then: 20 over the median (102.5)
    assert (first.target_class, first.family, first.stands_out) == (2, "additive", True)
    assert first.relative is not None and abs(first.relative - 20 / 102.5) < 1e-9
    assert not any(s.stands_out for s in standings.ranked()[1:])


def test_nothing_stands_out_before_half_the_classes_have_a_cost() -> None:
    standings = Standings()
    standings.follow(step([None, None, 0.1, None, None]))
    assert not any(s.stands_out for s in standings.ranked())


def test_restarts_of_a_class_count_once_and_the_best_cost_stays() -> None:
    standings = Standings()
    standings.follow(step([3.0, 2.0, 5.0, 4.0], classes=[0, 0, 1, 1]))
    standings.follow(step([9.0, 9.0, None, None], classes=[0, 0, 1, 1]))
    assert [(s.target_class, s.cost) for s in standings.of_family("patch")] == [(0, 2.0), (1, 4.0)]


def test_refining_the_cheapest_alone_moves_no_standing() -> None:
    standings = Standings()
    standings.follow(step([3.0, 2.9, 3.1]))
    before = standings.ranked()
    standings.follow(step([0.1], classes=[1]))
    assert standings.ranked() == before and not before[0].stands_out


def test_before_medians_exist_the_cheapest_comes_first() -> None:
    standings = Standings()
    standings.follow(step([None, None, None, 0.4, 0.3]))
    assert [s.target_class for s in standings.ranked()][:2] == [4, 3]


def test_the_verdict_overrides_what_was_seen_live() -> None:
    standings = Standings()
    standings.follow(step([1.0, 2.0, 3.0]))
    standings.settle([ClassEvidence(target_class=c, family="patch", cost=7.0, attack_success_rate=1.0,
                                    anomaly_index=1.5) for c in range(3)])  # fmt: skip
    assert [(s.cost, s.anomaly_index) for s in standings.of_family("patch")] == [(7.0, 1.5)] * 3


def test_a_search_after_the_verdict_moves_no_standing() -> None:
    state = RunState(Request(model="m.pt"))
    for event in recorded.scan_events():
        state.follow(event)
    before = state.standings.ranked()
    state.follow(step([1e-6] * recorded.CLASSES))
    assert state.standings.ranked() == before
    assert state.pictures["patch", recorded.TARGET].shape == (32, 32, 3)


def test_a_stage_of_an_earlier_verb_keeps_its_line_and_its_time() -> None:
    state = RunState(Request(model="m.pt"))
    for verb in ("scan", "audit"):
        state.begin(verb, state.request)
        state.follow(StageStarted(stage="open", title="Opening"))
        state.follow(StageFinished(stage="open", seconds=1.5))
    assert [(stage.name, stage.seconds, stage.is_done) for stage in state.stages] == [("open", 3.0, True)]


def test_a_stage_met_twice_in_a_verb_has_two_lines() -> None:
    state = RunState(Request(model="m.pt"))
    for seconds in (1.0, 2.0):
        state.follow(StageStarted(stage="attend", title="Attention"))
        state.follow(StageFinished(stage="attend", seconds=seconds))
    assert [stage.seconds for stage in state.stages] == [1.0, 2.0]


def test_progress_names_what_is_at_work_and_ends_with_its_stage() -> None:
    state = RunState(Request(model="m.pt"))
    state.follow(StageStarted(stage="detect", title="Searching"))
    state.follow(recorded.search_step(5))
    assert (state.progress.label, state.progress.step, state.progress.steps) == ("patch", 5, recorded.STEPS)
    state.follow(StageFinished(stage="detect", seconds=1.0))
    assert state.progress.steps == 0


def test_a_search_by_source_shows_how_far_it_is() -> None:
    state = RunState(Request(model="m.pt"))
    state.follow(StageStarted(stage="detect", title="Detecting"))
    before = state.pace.share
    state.follow(SourceSearchStep(kind="source_specific", step=30, steps=55, triggers=90))
    assert (state.progress.label, state.progress.step, state.progress.steps) == ("source specific", 30, 55)
    assert state.pace.share > before


def test_a_stage_cut_short_is_not_done() -> None:
    state = RunState(Request(model="m.pt"))
    state.begin("scan", state.request)
    state.follow(StageStarted(stage="detect", title="Searching"))
    state.finish(None, [])
    assert not state.is_running
    assert [(stage.is_done, stage.seconds is None) for stage in state.stages] == [(False, False)]


def test_the_same_method_twice_makes_two_attempts() -> None:
    state = RunState(Request(model="m.pt"))
    for accepted in (False, True):
        state.follow(recorded.unlearn_step(1, "prune"))
        state.follow(AttemptFinished(method="prune", accepted=accepted, reason="r"))
    assert [(a.accepted, len(a.flips)) for a in state.attempts] == [(False, 1), (True, 1)]


def test_log_lines_carry_nothing_that_steers_a_terminal() -> None:
    state = RunState(Request(model="m.pt"))
    state.follow(Notice(message="a\x1b[2Jb\nc", level="warning"))
    mark, line = state.log[-1]
    assert mark == "!" and "\x1b" not in line and "\n" not in line


def test_pictures_of_odd_shapes_are_made_drawable_or_dropped() -> None:
    grey = np.full((4, 5), 2.0, dtype=np.float32)
    made = image(grey)
    assert made is not None and made.shape == (4, 5, 3) and made.max() == 1.0
    assert image(np.zeros((0, 4, 3), dtype=np.float32)) is None
    assert image("evidence/frames/1.npz") is None
    maps = heat_maps(np.full((4, 5), np.nan, dtype=np.float32))
    assert maps is not None and maps.shape == (1, 4, 5) and maps.max() == 0.0


def test_a_search_that_begins_again_shows_itself_and_not_the_one_before() -> None:
    state = RunState(Request(model="m.pt"))
    state.begin("scan", state.request)
    state.follow(StageStarted(stage="detect", title="Searching"))
    state.follow(recorded.search_step(5))
    state.finish(recorded.result(state.request, exit_code=3, seen=Verdict(label="inconclusive", score=None)))
    # When
    state.begin("scan", state.request)
    assert [line.plain for line in [_line(stage, 0.0, 40) for stage in state.stages]] == [f"✗ {'Searching':28} cut short"]
    state.follow(StageStarted(stage="detect", title="Searching"))
    assert not state.standings.ranked()
    state.follow(recorded.search_step(7))
    # Then
    assert state.verdict is None and state.search.step == 7 and state.standings.ranked()


def test_a_message_of_two_lines_is_logged_as_one() -> None:
    state = RunState(Request(model="m.pt"))
    state.follow(Notice(message="Cancelled.\nRun it again."))
    assert state.log[-1][1] == "Cancelled. Run it again."


def test_triggers_of_one_pair_are_said_with_their_flips_together() -> None:
    state = RunState(Request(model="m.pt"))
    found = recorded.result(state.request, exit_code=1, seen=recorded.verdict())
    of_pair = [replace(found.triggers[0], source_classes=[1], cost=cost, attack_success_rate=recorded.rate(hits, 2)) for cost, hits in ((0.1, 2), (0.2, 1))]
    state.finish(replace(found, triggers=of_pair))
    assert "3 of 4" in trigger_words(state, of_pair[0]).plain
