"""Draws every screen of the terminal interface from a recorded run, so that the pictures show what the tool shows.

    python docs/screenshots.py                  # from runs/demo, which `make demo` writes
    python docs/screenshots.py RUN --only finding --out /tmp

Writes docs/tour/<screen>-<size>-<theme>.svg, docs/tour.md to look through them, and docs/tui.svg for the README.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

from auditor.domain import AuditResult
from auditor.errors import printable
from auditor.events import Control, Event, SearchStep, UnlearnStep
from auditor.report.reading import read_result
from auditor.request import Request
from auditor.tui.app import AuditorApp
from auditor.tui.producing import Stream
from auditor.tui.replay import Tempo, is_run, paced, replay, state_of
from auditor.tui.screens.history import HistoryScreen
from auditor.tui.screens.open import OpenScreen
from auditor.tui.state import RunState
from auditor.tui.theme import DARK, LIGHT

HERE = Path(__file__).resolve().parent
SIZES = {"80x24": (80, 24), "200x60": (200, 60)}
THEMES = {"dark": DARK.name, "light": LIGHT.name}
HERO = ("finding", (120, 36), DARK.name)
SETTLE_S = 1.2
AT_ONCE = 1e9
# GitHub serves pictures without letting them load anything, so a web font would never arrive.
WEB_FONT = re.compile(r"@font-face\s*\{.*?\}\s*", re.DOTALL)
FONTS = "Fira Code, ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace"
MARK = re.compile(r"terminal-\d+")
# Clips and lengths of single characters make up half of a picture, and change nothing in it.
CLIPS = re.compile(r'<clipPath id="[^"]*-line-\d+">.*?</clipPath>\s*| clip-path="url\(#[^"]*-line-\d+\)"', re.DOTALL)
LENGTHS = re.compile(r'( textLength="12\.2")(?=[^>]*>(?:[^<&]|&#?\w+;)</text>)')


def in_the_middle(run: Path, is_last: Callable[[Event], bool], verb: str) -> RunState:
    """The state just after an event, as if the run were live."""
    state = state_of(run, read_result(run / "result.json").result)
    state.begin(verb, replace(state.request, method="auto"))
    state.is_replay = False
    for event in paced(run, Tempo(AT_ONCE), Control()):
        state.follow(event)
        if is_last(event):
            break
    state.clock.stop()
    return state


def searching(event: Event) -> bool:
    return isinstance(event, SearchStep) and event.family == "lowfreq" and event.step >= 30


def unlearning(event: Event) -> bool:
    return isinstance(event, UnlearnStep) and event.step >= 0.7 * event.steps


def at_the_end(run: Path) -> RunState:
    state = replay(run)
    state.is_replay = False
    return state


def opened(run: Path) -> Stream:
    """A stream whose trial of the model ends as that of the recorded run did."""

    def stream(verb: str, request: Request, control: Control) -> Generator[Event, None, AuditResult]:
        result = read_result(run / "result.json").result
        yield from ()
        return replace(result, verdict=None, errors=[])

    return stream


STATES: dict[str, Callable[[Path], RunState]] = {
    "open": lambda run: RunState(Request(model="")),
    "audit": lambda run: in_the_middle(run, searching, "audit"),
    "finding": at_the_end,
    "method": at_the_end,
    "unlearn": lambda run: in_the_middle(run, unlearning, "audit"),
    "verify": at_the_end,
    "history": at_the_end,
}


WORDS = {
    "open": "Open", "audit": "Audit, in the middle of the search", "finding": "Finding", "method": "Unlearn: the form",
    "unlearn": "Unlearn, at work", "verify": "Verify and export", "history": "History",
}  # fmt: skip


def tour() -> str:
    """The page that shows every picture."""
    said = ["# A tour of the terminal interface", "", "Drawn from a recorded audit by `python docs/screenshots.py RUN`."]
    for name, words in WORDS.items():
        said += ["", f"## {words}", ""]
        said += [f"![{words}, {size} cells, {theme}](tour/{name}-{size}-{theme}.svg)" for size in SIZES for theme in THEMES]
    return "\n".join(said) + "\n"


async def draw(run: Path, name: str, size: tuple[int, int], theme: str) -> str:
    """The SVG of one screen, with no reference to anything outside it."""
    app = AuditorApp(stream=opened(run))
    async with app.run_test(size=size) as pilot:
        app.theme = theme
        app.state = STATES[name](run)
        app.show("unlearn" if name == "method" else name)
        await pilot.pause(0.3)
        screen = app.screen
        if isinstance(screen, OpenScreen):
            screen.action_sample()
            while screen.query_one("#start").disabled:
                await pilot.pause(0.1)
        elif isinstance(screen, HistoryScreen):
            await pilot.pause(0.3)
            await pilot.press("space", "down", "space")
        elif name == "method":
            from textual.widgets import Select

            from auditor.tui.widgets.method_form import MethodForm

            screen.query_one(MethodForm).query_one("#method", Select).value = "prune"
        await pilot.pause(SETTLE_S)
        for _ in range(3):
            await pilot.pause()
        svg = app.export_screenshot(title="auditor")
    svg = LENGTHS.sub("", CLIPS.sub("", WEB_FONT.sub("", svg)))
    return MARK.sub("terminal", svg).replace("Fira Code, monospace", FONTS)


def main(argv: list[str] | None = None) -> int:
    """Write the pictures; the exit code."""
    parser = argparse.ArgumentParser(description="Draw the screens of the TUI from a recorded run.")
    parser.add_argument("run", nargs="?", type=Path, default=HERE.parent / "runs" / "demo")
    parser.add_argument("--only", choices=STATES, help="this screen only")
    parser.add_argument("--out", type=Path, default=HERE)
    chosen = parser.parse_args(argv)
    if not is_run(chosen.run):
        parser.error(f"{printable(chosen.run)} holds no finished run: run `make demo` first, or name a run folder.")
    run, out = chosen.run.resolve(), chosen.out.resolve()
    (out / "tour").mkdir(parents=True, exist_ok=True)
    os.chdir(HERE.parent)
    os.environ.pop("NO_COLOR", None)
    wanted = [(name, size, theme, out / "tour" / f"{name}-{size}-{theme}.svg")
              for name in STATES for size in SIZES for theme in THEMES if chosen.only in (None, name)]  # fmt: skip
    for name, size, theme, path in wanted:
        path.write_text(asyncio.run(draw(run, name, SIZES[size], THEMES[theme])), encoding="utf-8")
        sys.stdout.write(f"{path}\n")
    if chosen.only is None:
        (out / "tour.md").write_text(tour(), encoding="utf-8")
    if chosen.only in (None, HERO[0]):
        (out / "tui.svg").write_text(asyncio.run(draw(run, *HERO)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
