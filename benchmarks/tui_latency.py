"""How quickly the terminal interface answers during a search, and what a long replay keeps.

    python -m benchmarks.tui_latency                       # samples/suspect.pt, standard, in a pseudo-terminal
    python -m benchmarks.tui_latency --only replay

Latency: `auditor tui` runs on a pseudo-terminal; a key that sorts the class table is written, and the time until the
new title arrives is taken. Replay: 10,000 search steps with pictures are replayed as fast as they can be, with
scrolling; memory is the resident set. Writes a JSON line a measure to stdout.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from auditor.events import SearchStep, StageStarted, encode
from auditor.tui.app import AuditorApp
from benchmarks.terminal import INTERFACE, ROOT, SIZE, NeverDrawnError, Terminal

PAUSE_S = 1.0
TITLES = ("Classes by cost", "Classes by flips", "Classes by of median", "Classes by outlier", "Classes by family",
          "Classes by class", "Classes, most suspicious first")  # fmt: skip
ENDS = ("Synthesized trigger", "Could not go on")
FRAMES = 50
Beside = Callable[[Terminal, Path], Iterator[Any]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(ROOT / "samples" / "suspect.pt"))
    parser.add_argument("--clean", default=str(ROOT / "samples" / "clean"))
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--only", choices=("search", "replay"))
    chosen = parser.parse_args()
    say({"load before": os.getloadavg(), "cores": os.cpu_count()})
    with tempfile.TemporaryDirectory() as scratch:
        if chosen.only != "replay":
            measure_search(chosen.model, chosen.clean, Path(scratch))
        if chosen.only != "search":
            measure_replay(chosen.events, Path(scratch) / "long")
    return 0


def say(measure: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(measure) + "\n")
    sys.stdout.flush()


def measure_search(model: str, clean: str, scratch: Path) -> None:
    """A key a second while the search is at work."""
    delays_ms, _ = drive(model, clean, scratch / "keyed", keyed)
    quantiles = statistics.quantiles(delays_ms, n=20)
    say({"measure": "key to paint during a search", "keys": len(delays_ms), "median ms": round(statistics.median(delays_ms), 1),
         "95th percentile ms": round(quantiles[18], 1), "worst ms": round(max(delays_ms), 1)})  # fmt: skip


def drive(model: str, clean: str, desk: Path, beside: Beside, command: Sequence[str] = INTERFACE) -> tuple[list[Any], Path]:
    """Start the audit by keys, do something `beside` the search, and leave after it; what came of that, and the run folder."""
    (desk / "samples").mkdir(parents=True)
    (desk / "samples" / "suspect.pt").symlink_to(Path(model).resolve())
    (desk / "samples" / "clean").symlink_to(Path(clean).resolve())
    terminal = Terminal(desk, command=command)
    try:
        terminal.wait_for("Use the sample", 60)
        terminal.press("\r")
        if not terminal.wait_for("Ready to start", 120, ends=("cannot be",)):
            raise NeverDrawnError(f"The sample was refused. The last screen:\n{terminal.text}")
        terminal.press("\r")
        terminal.wait_for("Searching for triggers", 120)
        run = desk / "runs" / "suspect"
        found = list(beside(terminal, run))
        terminal.press("\x11")
        terminal.read_until_exit(10)
        return found, run
    finally:
        terminal.end()


def keyed(terminal: Terminal, run: Path) -> Iterator[float]:
    """A key that sorts the table, every second until the search has ended: the milliseconds to its paint."""
    for number in count():
        began = time.monotonic()
        terminal.press("t")
        if not terminal.wait_for(TITLES[number % len(TITLES)], 60, ends=ENDS):
            return
        yield (time.monotonic() - began) * 1000
        while time.monotonic() < began + PAUSE_S:
            terminal.read(PAUSE_S / 10)


def measure_replay(events: int, folder: Path) -> None:
    """What a replay of many events adds to the resident memory."""
    write_long_run(folder, events)

    async def replayed() -> tuple[float, float, float]:
        app = AuditorApp(message="measuring")
        async with app.run_test(size=(SIZE[1], SIZE[0])) as pilot:
            await pilot.pause(0.5)
            before = resident_mb()
            began = time.monotonic()
            app.play_run(folder)
            for _ in range(3):
                app.action_tempo("faster")
            while app.state.is_running:
                await pilot.pause(0.5)
                await pilot.press("pagedown", "pageup")
            return before, resident_mb(), time.monotonic() - began

    before, after, seconds = asyncio.run(replayed())
    say({"measure": "replay", "events": events, "resident MB before": round(before), "after": round(after),
         "growth MB": round(after - before, 1), "seconds": round(seconds, 1)})  # fmt: skip


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def write_long_run(folder: Path, events: int) -> None:
    """A run folder with `events` search steps over 43 classes, ten minutes by its clock."""
    frames = folder / "evidence" / "frames"
    frames.mkdir(parents=True)
    noise = np.random.default_rng(0)
    for number in range(FRAMES):
        np.savez_compressed(frames / f"{number}.npz", picture=noise.integers(0, 255, (32, 32, 3), dtype=np.uint8))
    result = {
        "schema_version": "1.0", "tool": {"name": "auditor", "version": "", "python": "", "torch": "", "platform": ""},
        "run": {"argv": [], "seed": 0, "device": "cpu", "dtype": "float32", "threads": 2, "profile": "deep", "started": ""},
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    classes = list(range(43))
    with (folder / "events.jsonl").open("w") as stream:
        stream.write(encode(StageStarted(number=1, at_s=0.01, stage="detect", title="Searching for triggers")) + "\n")
        for number in range(2, events + 2):
            step = SearchStep(
                family=("patch", "additive", "lowfreq", "warp", "feature")[number * 5 // (events + 2)], step=number % 200,
                steps=200, classes=classes, loss=[round(float(x), 6) for x in noise.random(43)],
                attack_success_rate=[round(float(x), 6) for x in noise.random(43)],
                cost=[round(float(x), 6) for x in noise.random(43)], picture_class=number % 43,
            )  # fmt: skip
            line = replace(step, number=number, at_s=number * 600 / events, picture=f"evidence/frames/{number % FRAMES}.npz")
            stream.write(encode(line) + "\n")


if __name__ == "__main__":
    sys.exit(main())
