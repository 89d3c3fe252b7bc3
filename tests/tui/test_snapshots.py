"""Every screen at two sizes, from a recorded run, against what it showed before.

`AUDITOR_SNAPSHOTS=write pytest tests/tui/test_snapshots.py` writes them anew: look at the difference in git.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import recorded
from driving import on, screen_text, until
from textual.widgets import DirectoryTree

from auditor.events import Event, SearchStep, UnlearnStep
from auditor.request import Request
from auditor.tui.app import AuditorApp
from auditor.tui.screens.base import StateScreen
from auditor.tui.state import RunState

SNAPSHOTS = Path(__file__).parent / "snapshots"
SIZES = {"80x24": (80, 24), "200x60": (200, 60)}
ATTEMPTS = 20
NAMES = ("open", "audit", "finding", "method", "unlearn", "verify", "history")


def state_at(name: str, folder: Path) -> RunState:
    """The state of the recorded run at a moment that the screen is there for."""
    state = RunState(Request(model="samples/suspect.pt", output=str(folder)))
    if name == "open":
        return RunState(Request(model=""))
    state.begin("audit", state.request)
    for event in recorded.events(folder):
        state.follow(event)
        if _is_last(name, event):
            break
    else:
        state.finish(recorded.audited(state.request))
    state.clock.stop()
    state.began_s = state.clock.now_s
    return state


def _is_last(name: str, event: Event) -> bool:
    if name == "audit":
        return isinstance(event, SearchStep) and event.step == 40
    return name == "unlearn" and isinstance(event, UnlearnStep) and event.step == 5


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_screen(here: Path, name: str, size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = here / "desk"
    desk.mkdir()
    monkeypatch.chdir(desk)
    monkeypatch.setattr("auditor.tui.clock.time", SimpleNamespace(monotonic=lambda: 0.0))
    folder = recorded.write_run(Path("runs") / "first")
    app = AuditorApp(stream=recorded.ready(recorded.play()))

    async def main() -> str:
        async with app.run_test(size=SIZES[size]) as pilot:
            app.state = state_at(name, folder)
            app.show("unlearn" if name == "method" else name)
            await until(pilot, on(app, "unlearn" if name == "method" else name))
            if name == "open":
                await until(pilot, lambda: bool(app.screen.query_one(DirectoryTree).root.children))
            if isinstance(app.screen, StateScreen):
                app.screen.redraw()
            for _ in range(ATTEMPTS):  # on a busy machine the last of it is drawn late
                await pilot.pause(0.5)
                if (shown := screen_text(app)) == before:
                    break
            return shown

    path = SNAPSHOTS / f"{name}-{size}.txt"
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    shown = asyncio.run(main())
    if os.environ.get("AUDITOR_SNAPSHOTS") == "write":
        path.write_text(shown, encoding="utf-8")
        return
    assert shown == before, "the screen has changed: see the head of this file"


def test_every_screen_has_its_snapshots() -> None:
    assert {path.stem for path in SNAPSHOTS.glob("*.txt")} == {f"{name}-{size}" for name in NAMES for size in SIZES}
