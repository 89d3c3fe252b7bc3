"""Choosing a method and its parameters in the form that the registry makes, and what becomes of them."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import recorded
from driving import drive, on, screen_text, to_finding, until
from textual.pilot import Pilot
from textual.widgets import Button, Input, Select

from auditor.domain import AuditResult
from auditor.events import Control, Event
from auditor.request import Request
from auditor.tui.app import AuditorApp
from auditor.tui.widgets.method_form import AUTO
from auditor.unlearn import METHODS, configured
from auditor.unlearn.settings import parameters_of, to_text


async def to_form(app: AuditorApp, pilot: Pilot[int], method: str) -> None:
    """From Open to the form, with a method chosen by keys."""
    await to_finding(app, pilot)
    await pilot.press("u")
    await until(pilot, on(app, "unlearn"))
    await until(pilot, lambda: isinstance(app.focused, Select))
    await pilot.press("enter", *["down"] * [AUTO, *METHODS].index(method), "enter")
    await until(pilot, lambda: {field.id for field in app.screen.query("#parameters Input, #parameters Select")}
                == {f"set-{parameter.name}" for parameter in parameters_of(METHODS[method])})  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_each_method_is_offered_with_its_fields_and_runs(here: Path, method: str) -> None:
    seen: list[Request] = []

    def stream(verb: str, request: Request, control: Control) -> Generator[Event, None, AuditResult]:
        seen.append(request)
        return (yield from recorded.play()(verb, request, control))

    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await to_form(app, pilot, method)
        for parameter in parameters_of(METHODS[method]):
            field = app.screen.query_one(f"#set-{parameter.name}")
            assert isinstance(field, Select if parameter.choices else Input)
            assert field.value == to_text(parameter.default)
        # When: the first number is set to the value of another
        first = next(parameter for parameter in parameters_of(METHODS[method]) if not parameter.choices)
        app.screen.query_one(f"#set-{first.name}", Input).value = to_text(changed(first.default))
        await pilot.pause()
        await pilot.press("f5")
        await until(pilot, on(app, "verify"))
        # Then
        assert (seen[-1].method, seen[-1].settings) == (method, {first.name: changed(first.default)})
        assert configured(method, seen[-1].settings)[method] != METHODS[method]
        assert seen[-1].argv[-2:] == ["--set", f"{first.name}={to_text(changed(first.default))}"]

    drive(steps, stream=stream)


def changed(value: Any) -> Any:
    return tuple(item + 1 for item in value) if isinstance(value, tuple) else value + 1


def test_a_value_that_cannot_be_read_holds_the_start_back_and_says_why(here: Path) -> None:
    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await to_form(app, pilot, "prune")
        app.screen.query_one("#set-patience", Input).value = "many"
        await pilot.pause()
        assert "patience is a whole number from 0, not 'many'" in screen_text(app)
        assert app.screen.query_one("#unlearn-start", Button).disabled
        await pilot.press("f5")
        assert on(app, "unlearn")() and not app.state.is_running
        # And the method's own values are one key away
        app.screen.query_one("#defaults", Button).press()
        await until(pilot, lambda: not app.screen.query_one("#unlearn-start", Button).disabled)

    drive(steps, size=(160, 50))


def test_a_second_method_can_be_tried_after_the_first(here: Path) -> None:
    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await to_finding(app, pilot)
        await pilot.press("a")
        await until(pilot, on(app, "verify"))
        await pilot.press("u")
        await until(pilot, on(app, "unlearn"))
        await until(pilot, lambda: isinstance(app.focused, Select))
        await pilot.press("enter", "down", "enter")
        await until(pilot, lambda: bool(app.screen.query("#parameters Input")))
        await pilot.press("f5")
        await until(pilot, on(app, "verify"))
        assert app.state.request.method == next(iter(METHODS))

    drive(steps)
