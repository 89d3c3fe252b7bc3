"""Drives the application by keys in tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from html import unescape
from pathlib import Path
from re import findall

import pytest
import recorded
from textual.pilot import Pilot
from textual.widgets import Button, Static

from auditor.tui.app import AuditorApp
from auditor.tui.config import Config
from auditor.tui.screens.base import AuditorScreen

Drive = Callable[[AuditorApp, Pilot[int]], Awaitable[None]]
PATIENCE_S = 60.0


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a sample in it: a real torch zip is not needed to look at a file."""
    (tmp_path / "samples" / "clean" / "00").mkdir(parents=True)
    (tmp_path / "samples" / "clean" / "00" / "a.png").write_bytes(b"x")
    header = b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    (tmp_path / "samples" / "suspect.pt").write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def drive(steps: Drive, *, app: AuditorApp | None = None, config: Config | None = None,
          stream: recorded.Stream | None = None, size: tuple[int, int] = (120, 36),
          model: str = "") -> None:  # fmt: skip
    """Run the steps against an application; the one given, or a new one over a stream."""
    driven = app or AuditorApp(model=model, stream=recorded.ready(stream or recorded.play()), config=config)

    async def main() -> None:
        async with driven.run_test(size=size) as pilot:
            await steps(driven, pilot)

    asyncio.run(main())


async def until(pilot: Pilot[int], holds: Callable[[], bool]) -> None:
    """Wait for a condition; fails after `PATIENCE_S`."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.02)  # not the pilot's pause: that gives up after 30 s on a busy machine
    await pilot.pause()


def on(app: AuditorApp, name: str) -> Callable[[], bool]:
    return lambda: isinstance(app.screen, AuditorScreen) and app.screen.NAME == name and app.screen.is_mounted


def text_of(app: AuditorApp, selector: str) -> str:
    return str(app.screen.query_one(selector, Static).render())


def ready(app: AuditorApp) -> bool:
    return isinstance(app.focused, Button) and app.focused.id == "start"


async def start(app: AuditorApp, pilot: Pilot[int]) -> None:
    """Take the sample that Open offers, and begin."""
    await pilot.press("enter")
    await until(pilot, lambda: ready(app))
    await pilot.press("enter")


async def start_by_clicks(app: AuditorApp, pilot: Pilot[int]) -> None:
    """The same with the mouse alone."""
    await pilot.click("#sample")
    await until(pilot, lambda: ready(app))
    await pilot.click("#start")


async def to_search(app: AuditorApp, pilot: Pilot[int], begin: Drive = start) -> None:
    """Begin, and wait until the search has made a step."""
    await begin(app, pilot)
    await until(pilot, lambda: app.state.search.step > 0)


async def stop(app: AuditorApp, pilot: Pilot[int]) -> None:
    await pilot.press("s")
    await until(pilot, on(app, "finding"))


async def to_finding(app: AuditorApp, pilot: Pilot[int]) -> None:
    await start(app, pilot)
    await until(pilot, on(app, "finding"))
    await pilot.pause(0.2)


def screen_text(app: AuditorApp) -> str:
    """What the screen shows, line by line, without colours."""
    svg = app.export_screenshot(title="")
    parts = findall(r'<text [^>]*?x="([\d.]+)" y="([\d.]+)"[^>]*clip-path[^>]*>([^<]*)</text>', svg)
    lines: dict[float, list[tuple[float, str]]] = {}
    for x, y, text in parts:
        lines.setdefault(float(y), []).append((float(x), unescape(text).replace("\xa0", " ")))
    return "\n".join("".join(_placed(parts)) for _, parts in sorted(lines.items())) + "\n"


def _placed(parts: list[tuple[float, str]]) -> list[str]:
    """The pieces of a line with the spaces between them; a cell is 12.2 wide."""
    said, at = [], 0
    for x, text in sorted(parts):
        start = round(x / 12.2)
        said += [" " * (start - at), text]
        at = start + len(text)
    return [part.rstrip() if index == len(said) - 1 else part for index, part in enumerate(said)]
