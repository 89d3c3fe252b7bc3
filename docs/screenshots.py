"""Draws docs/tui.svg from a finished run: the TUI replays it, so the picture shows what the tool shows.

    python docs/screenshots.py                  # from runs/demo, which `make demo` writes
    python docs/screenshots.py RUN --screen audit --out picture.svg
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from pathlib import Path

from auditor.errors import printable
from auditor.tui.app import SCREENS, AuditorApp
from auditor.tui.replay import is_run, replay

HERE = Path(__file__).resolve().parent
SIZE = (120, 36)
# GitHub serves pictures without letting them load anything, so a web font would never arrive.
WEB_FONT = re.compile(r"@font-face\s*\{.*?\}\s*", re.DOTALL)
FONTS = "Fira Code, ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace"


async def draw(run: Path, screen: str) -> str:
    """The SVG of one screen of a finished run, with no reference to anything outside it."""
    app = AuditorApp(state=replay(run))
    async with app.run_test(size=SIZE) as pilot:
        app.show(screen)
        await pilot.pause(1.0)
        svg = app.export_screenshot(title="auditor")
    return WEB_FONT.sub("", svg).replace("Fira Code, monospace", FONTS)


def main(argv: list[str] | None = None) -> int:
    """Write the picture; the exit code."""
    parser = argparse.ArgumentParser(description="Draw a screen of the TUI from a finished run.")
    parser.add_argument("run", nargs="?", type=Path, default=HERE.parent / "runs" / "demo")
    parser.add_argument("--screen", choices=SCREENS, default="finding")
    parser.add_argument("--out", type=Path, default=HERE / "tui.svg")
    chosen = parser.parse_args(argv)
    if not is_run(chosen.run):
        parser.error(f"{printable(chosen.run)} holds no finished run: run `make demo` first, or name a run folder.")
    svg = asyncio.run(draw(chosen.run, chosen.screen))
    chosen.out.write_text(svg, encoding="utf-8")
    sys.stdout.write(f"{chosen.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
