"""Recorded runs: listed, opened, compared, and replayed at a chosen speed."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest
import recorded
from driving import drive, on, screen_text, until
from textual.pilot import Pilot
from textual.widgets import DataTable

from auditor.errors import Cancelled
from auditor.events import Control, Event
from auditor.request import Request
from auditor.tui.app import AuditorApp
from auditor.tui.history import PastRun, compare, expected_search_s, list_runs
from auditor.tui.messages import Listed
from auditor.tui.replay import Tempo, paced, recorded_events
from auditor.tui.screens.base import StateScreen
from auditor.tui.screens.history import HistoryScreen
from auditor.tui.state import RunState


@pytest.fixture
def runs(here: Path) -> Path:
    """Two runs in ./runs, and a folder that is none."""
    for name in ("first", "second"):
        recorded.write_run(here / "runs" / name)
    (here / "runs" / "other").mkdir()
    return here / "runs"


async def to_history(app: AuditorApp, pilot: Pilot[int]) -> None:
    await pilot.pause()
    await pilot.press("f6")
    await until(pilot, on(app, "history"))
    await until(pilot, lambda: app.screen.query_one(DataTable).row_count == 2)


def test_a_run_is_opened_as_it_ended(runs: Path) -> None:
    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await to_history(app, pilot)
        await until(pilot, lambda: "Backdoor found" in screen_text(app))  # drawn later than laid out
        assert "other" not in screen_text(app)
        await pilot.press("enter")
        await until(pilot, on(app, "verify"))
        assert app.state.is_replay and app.state.attempts[0].accepted

    drive(steps, size=(160, 40))


def test_rows_drawn_before_anything_is_measured_are_not_cut_off(runs: Path) -> None:
    """A busy machine draws between the writing of a row and the idle moment in which Textual measures it."""

    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await to_history(app, pilot)
        screen = app.screen
        assert isinstance(screen, HistoryScreen)
        table = screen.query_one(DataTable)
        table.clear(columns=True)
        screen.on_mount()
        screen.on_listed(Listed(list_runs([runs])))
        assert "Backdoor found" in screen_text(app) and table.row_count == 2

    drive(steps, size=(160, 40))


def test_two_runs_are_compared_side_by_side(runs: Path) -> None:
    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await to_history(app, pilot)
        await pilot.press("space", "down", "space")
        await pilot.pause(0.2)
        said = screen_text(app)
        assert "96.7 %" in said and "cifar:resnet20" in said

    drive(steps, size=(160, 60))


def test_a_run_plays_from_its_first_event_to_the_state_it_ended_in(runs: Path) -> None:
    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await to_history(app, pilot)
        await pilot.press("p")
        await until(pilot, on(app, "audit"))
        await pilot.press("plus", "plus", "plus")
        assert app.tempo.speed == 1000 or not app.state.is_running
        await until(pilot, lambda: not app.state.is_running)
        assert app.state.is_backdoored and app.state.attempts[0].accepted and not app.state.errors
        await pilot.press("5")
        await until(pilot, on(app, "verify"))
        assert "Sanitized and verified" in screen_text(app)

    drive(steps)


def test_a_replay_keeps_time_pauses_and_ends_on_cancel(tmp_path: Path) -> None:
    folder = recorded.write_run(tmp_path / "run")  # an event each 0.1 s
    tempo, control, seen = Tempo(1000), Control(), []
    began = time.monotonic()
    events = paced(folder, tempo, control)
    seen = [next(events) for _ in range(10)]
    assert time.monotonic() - began < 5 and [event.number for event in seen] == list(range(1, 11))
    tempo.toggle()
    assert tempo.words == "paused"
    threading.Timer(0.2, control.cancel).start()
    with pytest.raises(Cancelled):
        next(events)


def test_speeds_go_up_and_down_between_their_ends() -> None:
    tempo = Tempo(1.0)
    tempo.slower()
    assert tempo.words == "1x"
    for _ in range(9):
        tempo.faster()
    assert tempo.words == "1000x"


def test_runs_are_found_latest_first_and_a_broken_one_says_so(runs: Path) -> None:
    (runs / "first" / "result.json").write_text("{}")
    found = {run.folder.name: run for run in list_runs([runs, runs])}
    assert set(found) == {"first", "second"} and found["first"].problem and found["second"].label == "Backdoor found"


def test_comparison_names_every_row() -> None:
    assert compare([]) and all(values == [] for _, values in compare([]))


def test_the_time_expected_is_the_median_of_searches_of_the_same_network() -> None:
    runs = [PastRun(folder=Path(str(s)), architecture="a", profile="quick", search_s=s) for s in (0.2, 10.0, 20.0, 40.0)]
    assert expected_search_s(runs, "a", "quick") == 20.0
    assert expected_search_s(runs, "a", "deep") is None and expected_search_s(runs, "", "quick") is None


def picture_of(state: RunState, name: str) -> str:
    """What a screen shows of a state."""
    app = AuditorApp(stream=recorded.ready(recorded.play()))

    async def main() -> str:
        async with app.run_test(size=(160, 50)) as pilot:
            app.state = state
            app.show(name)
            await until(pilot, on(app, name))
            assert isinstance(app.screen, StateScreen)
            app.screen.redraw()
            await pilot.pause(0.3)
            return screen_text(app)

    return asyncio.run(main())


def follow(events: list[Event], folder: Path) -> RunState:
    state = RunState(Request(model="suspect.pt", output=str(folder)))
    for event in events:
        state.follow(event)
    state.clock.stop()
    return state


@pytest.mark.parametrize("name", ["audit", "finding", "unlearn", "verify"])
def test_the_event_log_alone_rebuilds_every_screen(here: Path, name: str) -> None:
    # Given a run that was followed live, and its log, with nothing else left
    folder = recorded.write_run(here / "run")
    live = follow(recorded.events(folder), folder)
    (folder / "result.json").unlink()
    # When
    rebuilt = follow(list(recorded_events(folder)), folder)
    # Then
    picture = picture_of(live, name)
    assert picture_of(rebuilt, name) == picture
    assert "square-up" in picture or name == "unlearn"
