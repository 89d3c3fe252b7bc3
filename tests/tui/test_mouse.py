"""The application driven by the mouse alone, from the sample to the report."""

from __future__ import annotations

from pathlib import Path

import recorded
from driving import drive, on, start_by_clicks, stop, text_of, to_search, until
from textual.pilot import Pilot

from auditor.tui.app import AuditorApp
from auditor.tui.widgets.class_table import ClassTable


def test_from_open_to_the_report_and_back_by_clicks(here: Path) -> None:
    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await start_by_clicks(app, pilot)
        await until(pilot, on(app, "finding"))
        await pilot.pause(0.3)
        await pilot.click("#auto")
        await until(pilot, on(app, "verify"))
        await pilot.pause(0.3)
        assert "Sanitized and verified" in text_of(app, "#outcome")
        # When: the names of screens at the top are clicked
        await pilot.click("Heading", offset=(len(" auditor  1 o"), 0))
        await until(pilot, on(app, "open"))
        await pilot.click("Heading", offset=(len(" auditor  1 open  2 a"), 0))
        await until(pilot, on(app, "audit"))

    drive(steps)


def test_a_click_on_a_column_sorts_by_it(here: Path) -> None:
    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await to_search(app, pilot, start_by_clicks)
        await pilot.pause(0.5)
        await pilot.click(ClassTable, offset=(4, 1))
        await until(pilot, lambda: app.screen.query_one(ClassTable).border_title == "Classes by class")
        await stop(app, pilot)

    drive(steps, stream=recorded.hold())
