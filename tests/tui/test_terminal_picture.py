"""Pictures in the terminal's own graphics: only when asked for, and only where they can be."""

from __future__ import annotations

import asyncio
import sys

import numpy as np
import pytest
import recorded
from textual.widgets import Static

from auditor.request import Request
from auditor.tui.app import AuditorApp
from auditor.tui.config import Config
from auditor.tui.starting import NO_GRAPHICS, NO_LIBRARY, choose_picture
from auditor.tui.state import RunState
from auditor.tui.widgets.halfblock import HalfBlockImage

terminal_picture = pytest.importorskip("auditor.tui.widgets.terminal_picture")
ASKED = Config(pictures="terminal")


def test_characters_are_drawn_unless_graphics_are_asked_for() -> None:
    assert choose_picture(Config()) == (HalfBlockImage, Config())


@pytest.mark.parametrize("name", ["library", "terminal", "colour"])
def test_where_they_cannot_be_characters_are_drawn_and_it_is_said_why(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "library":
        monkeypatch.setitem(sys.modules, "auditor.tui.widgets.terminal_picture", None)
        monkeypatch.delattr("auditor.tui.widgets.terminal_picture", raising=False)
    if name == "colour":
        monkeypatch.setenv("NO_COLOR", "1")
    said = {"library": NO_LIBRARY, "terminal": NO_GRAPHICS, "colour": ""}[name]
    picture, config = choose_picture(ASKED)
    assert picture is HalfBlockImage and config.problem == said


def test_they_are_taken_where_the_terminal_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal_picture, "IS_SUPPORTED", True)
    assert choose_picture(ASKED) == (terminal_picture.TerminalPicture, ASKED)


def test_the_trigger_that_forms_is_handed_to_the_terminal() -> None:
    state = RunState(Request(model="m.pt"))
    state.begin("scan", state.request)
    app = AuditorApp(state=state, stream=recorded.play(), picture=terminal_picture.TerminalPicture)

    async def main() -> None:
        async with app.run_test(size=(120, 36)) as pilot:
            app.show("audit")
            await pilot.pause(0.5)
            shown = app.screen.query_one(terminal_picture.TerminalPicture)
            assert shown.query_one(Static).display
            state.search.picture = np.zeros((32, 32, 3), np.float32)
            state.version += 1
            graphic = shown.query_one(".graphic")
            for _ in range(100):  # drawn at most once a second, later on a busy machine
                await pilot.pause(0.1)
                if graphic.image is not None:
                    break
            assert graphic.display and graphic.image.size == (256, 256) and not shown.query_one(Static).display

    asyncio.run(main())
