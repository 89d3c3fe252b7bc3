"""The application driven by keys, against a recorded audit."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest
import recorded
from driving import drive, on, start, stop, text_of, to_finding, to_search, until
from textual.pilot import Pilot
from textual.widgets import Button, DataTable, Input, Static

from auditor.domain import AuditResult, ErrorRecord, Verdict
from auditor.errors import Cancelled, UnsafeCheckpointError, UsageError
from auditor.events import Control, Event, FileWritten, StageStarted
from auditor.request import Request
from auditor.tui.app import AuditorApp
from auditor.tui.screens.audit import AuditScreen
from auditor.tui.screens.verify import files_words
from auditor.tui.state import RunState


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)])
def test_from_open_to_result_in_three_keys(here: Path, size: tuple[int, int]) -> None:
    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        # When: sample, start, auto
        await to_finding(app, pilot)
        assert "Backdoor found" in text_of(app, "#verdict-words")
        assert "11 (square-up)" in text_of(app, "#verdict-words")
        await pilot.press("enter")
        await until(pilot, on(app, "verify"))
        await pilot.pause(0.2)
        # Then
        assert app.state.request.method == "auto"
        assert "Sanitized and verified" in text_of(app, "#outcome")
        assert "sanitized.onnx" in text_of(app, "#files")
        assert app.state.result is not None and app.state.result.run.exit_code == 0

    drive(steps, size=size)


def test_a_report_is_listed_once_however_its_path_is_written(here: Path) -> None:
    state = RunState(Request(model="m.pt", output="runs/m"))
    (here / "runs" / "m").mkdir(parents=True)
    (here / "runs" / "m" / "report.html").write_text("")
    state.files = [FileWritten(path="runs/m/report.html", what="report"), FileWritten(path="result.json", what="result")]
    said = str(files_words(state, recorded.result(state.request, exit_code=0)))
    assert said.count("report.html") == 1 and "runs/m/report" not in said and "result.json" in said


def test_the_same_folder_and_settings_go_to_both_verbs(here: Path) -> None:
    seen: list[tuple[str, Request]] = []
    inner = recorded.play()

    def stream(verb: str, request: Request, control: Control) -> Generator[Event, None, AuditResult]:
        seen.append((verb, request))
        return (yield from inner(verb, request, control))

    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await to_finding(app, pilot)
        await pilot.press("a")
        await until(pilot, on(app, "verify"))

    drive(steps, stream=stream)
    assert [verb for verb, _ in seen] == ["scan", "audit"]
    scan, audit = seen[0][1], seen[1][1]
    assert scan.output == audit.output == str(Path("runs") / "suspect")
    assert (scan.model, scan.clean, scan.profile) == (audit.model, audit.clean, audit.profile)
    assert audit.method == "auto" and audit.argv[:2] == ["auditor", "audit"]


def test_audit_screen_shows_the_outlier_by_sign_and_word(here: Path) -> None:
    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await to_search(app, pilot)
        await until(pilot, lambda: "patch 50/60" in str(app.screen.query_one("Working Steady", Static).render()))
        table = app.screen.query_one(DataTable)
        await until(pilot, lambda: str(table.get_row_at(0)[1]) == "! stands out")
        first = [str(cell) for cell in table.get_row_at(0)]
        assert first[0] == "class 11" and first[1] == "! stands out"
        assert [str(cell) for cell in table.get_row_at(1)][1] == ""
        assert "patch 50/60" in str(app.screen.query_one("Working Steady", Static).render())
        await pilot.press("s")

    drive(steps, stream=recorded.hold(50))


def test_a_bad_file_is_an_error_in_place(here: Path) -> None:
    (here / "bad.pt").write_bytes(b"%PDF-1.7 not a checkpoint")

    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "document" in text_of(app, "#model-facts"))
        assert "Give the checkpoint of an image classifier." in text_of(app, "#model-facts")
        assert app.screen.query_one("#start", Button).disabled
        await pilot.press("f5")
        assert on(app, "open")()

    drive(steps, model="bad.pt")


@pytest.mark.parametrize("raises", [False, True])
def test_errors_of_the_stream_stay_where_they_happened(here: Path, raises: bool) -> None:
    # Given: a verb that ends with an error record, or raises as a misuse does
    def stream(verb: str, request: Request, control: Control) -> Generator[Event, None, AuditResult]:
        yield StageStarted(stage="open", title="Opening the file safely")
        error = UnsafeCheckpointError("The pickle calls os.system.", "Ask for safetensors.")
        if raises:
            raise UsageError(error.what, error.next_step)
        return recorded.result(request, exit_code=4, errors=[recorded.record(error)])

    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await start(app, pilot)
        await until(pilot, lambda: bool(app.state.errors))
        await pilot.pause(0.3)
        assert on(app, "audit")()
        assert "os.system" in text_of(app, "Problem") and "Ask for safetensors." in text_of(app, "Problem")
        # When going back: the fields are as they were
        await pilot.press("escape")
        await until(pilot, on(app, "open"))
        await until(pilot, lambda: app.screen.query_one("#model", Input).value.endswith("suspect.pt"))

    drive(steps, stream=stream)


def test_an_error_of_our_own_does_not_take_the_terminal_down(here: Path) -> None:
    def stream(verb: str, request: Request, control: Control) -> Generator[Event, None, AuditResult]:
        yield StageStarted(stage="open", title="Opening")
        raise RuntimeError("out of cheese")

    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await start(app, pilot)
        await until(pilot, lambda: bool(app.state.errors))
        await pilot.pause(0.3)
        assert "RuntimeError: out of cheese" in text_of(app, "Problem")

    drive(steps, stream=stream)


def test_cancel_asks_once_and_keeps_the_run(here: Path) -> None:
    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await to_search(app, pilot)
        # When: the first question is declined, the second confirmed
        await pilot.press("c", "n")
        assert app.state.is_running
        began = time.monotonic()
        await pilot.press("c", "y")
        await until(pilot, lambda: not app.state.is_running)
        # Then
        assert time.monotonic() - began < 5
        assert app.state.is_cancelled and on(app, "audit")()
        await pilot.pause(0.3)
        assert "r resumes" in text_of(app, "Problem")
        # And the same verb runs again
        await pilot.press("r")
        await until(pilot, on(app, "finding"))

    drive(steps, stream=recorded.hold())


@pytest.mark.parametrize("keys", [("c", "y"), ("s",)], ids=["cancel", "stop before there is anything to keep"])
def test_cancel_does_not_wait_for_a_step_that_never_ends(here: Path, keys: tuple[str, ...]) -> None:
    released, ended = threading.Event(), threading.Event()

    def stream(verb: str, request: Request, control: Control) -> Generator[Event, None, AuditResult]:
        yield StageStarted(stage="open", title="Opening")
        released.wait(30)
        ended.set()
        raise Cancelled("late", "")

    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await start(app, pilot)
        await until(pilot, lambda: len(app.state.stages) == 1)
        await pilot.press(*keys)
        await until(pilot, lambda: not app.state.is_running)
        assert not released.is_set() and app.can_resume
        released.set()
        await until(pilot, ended.is_set)
        await pilot.pause(0.1)
        assert len(app.state.errors) == 1 and "late" not in app.state.errors[0].what

    drive(steps, stream=stream)


def test_stop_finishes_with_the_best_so_far(here: Path) -> None:
    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await to_search(app, pilot)
        await stop(app, pilot)
        assert app.state.search.step < recorded.STEPS and not app.state.errors

    drive(steps, stream=recorded.hold())


def test_a_search_is_drawn_now_and_then_however_fast_it_goes(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []
    draw = AuditScreen.draw

    def counted(screen: AuditScreen, state: RunState) -> None:
        drawn.append(time.monotonic())
        draw(screen, state)

    monkeypatch.setattr(AuditScreen, "draw", counted)

    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await to_search(app, pilot)
        before, began = len(drawn), time.monotonic()
        await asyncio.sleep(3.0)
        assert 1 <= len(drawn) - before <= (time.monotonic() - began) / 1.5 + 1
        await stop(app, pilot)

    drive(steps, stream=recorded.hold())


def test_a_stop_before_anything_was_found_can_be_taken_back(here: Path) -> None:
    early = Verdict(label="inconclusive", score=None, reasons=["The search did not get far enough."])
    inner, results = recorded.hold(), [early]

    def stream(verb: str, request: Request, control: Control) -> Generator[Event, None, AuditResult]:
        found = yield from inner(verb, request, control)
        return dataclasses.replace(found, verdict=results.pop()) if results else found

    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await to_search(app, pilot)
        await stop(app, pilot)
        assert app.state.verdict is not None and app.state.verdict.label == "inconclusive"
        # When: the search is taken up again, and ends by itself
        await pilot.press("r")
        await until(pilot, lambda: app.state.is_backdoored and on(app, "finding")())
        # Then: the table follows the second search, and nothing is left to take up
        assert app.state.standings.ranked() and not app.can_resume

    drive(steps, stream=stream)


def test_nothing_found_offers_no_method_and_writes_the_report(here: Path) -> None:
    seen: list[str] = []

    def stream(verb: str, request: Request, control: Control) -> Generator[Event, None, AuditResult]:
        seen.append(verb)
        yield StageStarted(stage="detect", title="Searching")
        return recorded.result(request, exit_code=0, seen=Verdict(label="no_evidence", score=0.1))

    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await to_finding(app, pilot)
        assert "No evidence of a backdoor" in text_of(app, "#verdict-words")
        await pilot.press("u", "a")
        assert on(app, "finding")()
        await pilot.press("enter")
        await until(pilot, on(app, "verify"))
        assert seen == ["scan", "audit"]

    drive(steps, stream=stream)


def test_hostile_names_are_shown_as_text(here: Path) -> None:
    names = ["[b]x[/]", "\x1b[2J\x1b[31mred", "a\u202eb", "[/]", "[@click=app.quit]q[/]", "\n", *"ghijk"]
    evil = "[link=file:///etc/passwd]square[/]\x07"

    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await to_finding(app, pilot)
        assert "[link=file:///etc/passwd]squ" in text_of(app, "#verdict-words")
        bars = text_of(app, "CostBars")
        assert "\x1b" not in bars and "\u202e" not in bars and "[b]x[/]" in bars
        picture = app.export_screenshot()
        assert "\x1b" not in picture
        await pilot.press("a")
        await until(pilot, on(app, "verify"))
        await pilot.pause(0.2)
        assert "\x07" not in text_of(app, "#outcome")

    drive(steps, stream=recorded.play(names=[*names, evil]))


def test_hostile_file_names_reach_neither_terminal_nor_field(here: Path) -> None:
    (here / "\x1b]0;owned\x07.pt").write_bytes(b"x")
    (here / "[red].pt").write_bytes(b"x")

    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await pilot.pause(0.5)
        assert "\x1b" not in app.export_screenshot()
        app.screen._fill("model", str(here / "\x1b]0;owned\x07.pt"))  # type: ignore[attr-defined]
        assert app.screen.query_one("#model", Input).value == ""

    drive(steps)


def test_help_and_palette_list_the_keys_of_the_screen(here: Path) -> None:
    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await to_finding(app, pilot)
        await pilot.press("question_mark")
        await pilot.pause()
        shown = " ".join(str(widget.render()) for widget in app.screen.query(Static))
        assert "Choose a method" in shown and "ctrl+q quits" in shown and "Cursor" not in shown
        await pilot.press("escape")
        titles = [command.title for command in app.get_system_commands(app.screen)]
        assert {"finding: Auto", "finding: Choose a method", "finding: Finish", "app: Quit"} <= set(titles)

    drive(steps)


def test_quit_cancels_a_running_audit(here: Path) -> None:
    controls: list[Control] = []
    inner = recorded.hold()

    def stream(verb: str, request: Request, control: Control) -> Generator[Event, None, AuditResult]:
        controls.append(control)
        return (yield from inner(verb, request, control))

    app = AuditorApp(stream=recorded.ready(stream))

    async def main() -> None:
        async with app.run_test() as pilot:
            await to_search(app, pilot)
            await pilot.press("ctrl+q")

    asyncio.run(main())
    assert app.return_value == 130
    with pytest.raises(Cancelled):
        _ = controls[0].stop_requested


def test_the_report_is_opened_or_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []

    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await to_finding(app, pilot)
        Path("runs/suspect").mkdir(parents=True)
        await pilot.press("a")
        await until(pilot, on(app, "verify"))
        monkeypatch.setattr("auditor.tui.viewer.find_viewer", lambda: None)
        await pilot.press("o")
        await pilot.pause()
        assert any("report.html" in note.message for note in app._notifications)
        monkeypatch.setattr("auditor.tui.viewer.open_file", lambda path: opened.append(path) or True)
        await pilot.press("o")
        await pilot.pause()
        assert [path.name for path in opened] == ["report.html"]

    drive(steps)


def test_errors_without_a_result_can_be_shown_twice(here: Path) -> None:
    """A second failure replaces the first."""
    count = iter(range(9))

    def stream(verb: str, request: Request, control: Control) -> Generator[Event, None, AuditResult]:
        yield StageStarted(stage="open", title="Opening")
        error = ErrorRecord(kind="input", what=f"failure {next(count)}", next_step="Mend it.")
        return recorded.result(request, exit_code=2, errors=[error])

    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await start(app, pilot)
        await until(pilot, lambda: bool(app.state.errors))
        await pilot.pause(0.3)
        await pilot.press("r")
        await until(pilot, lambda: bool(app.state.errors) and "1" in app.state.errors[0].what)
        await pilot.pause(0.3)
        assert "failure 1" in text_of(app, "Problem") and "failure 0" not in text_of(app, "Problem")

    drive(steps, stream=stream)
