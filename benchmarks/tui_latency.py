"""How quickly the terminal interface answers during a search, what it costs the search, and what a long replay keeps.

    python -m benchmarks.tui_latency                       # samples/suspect.pt, standard, in a pseudo-terminal
    python -m benchmarks.tui_latency --only replay

Latency: `auditor tui` runs on a pseudo-terminal; a key that sorts the class table is written, and the time until
the new title arrives is taken. Slowdown: the seconds of the search in that run against those of `auditor scan`
before it, in one go. Replay: 10,000 search steps with pictures are replayed as fast as they can be, with scrolling;
memory is the resident set. Writes a JSON line a measure to stdout.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import pty
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from auditor.events import SearchStep, StageStarted, encode
from auditor.tui.app import AuditorApp

ROOT = Path(__file__).parents[1]
SIZE = (36, 120)
PAUSE_S = 0.4
TITLES = ("Classes by cost", "Classes by flips", "Classes by of median", "Classes by outlier", "Classes by family",
          "Classes by class", "Classes, most suspicious first")  # fmt: skip
FRAMES = 50


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
    """The search without the interface and then in it, in one go."""
    plain = scratch / "plain"
    subprocess.run([sys.executable, "-m", "auditor", "scan", model, "--clean", clean, "-q", "--format",
                    f"json={scratch / 'plain.json'}"], cwd=ROOT, stdout=subprocess.DEVNULL, check=False)  # fmt: skip
    alone_s = json.loads(plain.with_suffix(".json").read_text())["run"]["seconds"]["detect"]
    delays_ms, run = drive(model, clean, scratch)
    beside_s = json.loads((run / "result.json").read_text())["run"]["seconds"]["detect"]
    quantiles = statistics.quantiles(delays_ms, n=20)
    say({"measure": "key to paint during a search", "keys": len(delays_ms), "median ms": round(statistics.median(delays_ms), 1),
         "95th percentile ms": round(quantiles[18], 1), "worst ms": round(max(delays_ms), 1)})  # fmt: skip
    say({"measure": "search", "headless s": round(alone_s, 1), "in the interface s": round(beside_s, 1),
         "slower by": round(beside_s / alone_s - 1, 3), "load after": os.getloadavg()})  # fmt: skip


def drive(model: str, clean: str, scratch: Path) -> tuple[list[float], Path]:
    """Start the audit by keys, sort while it searches, and leave; the delays and the run folder."""
    (scratch / "samples").mkdir()
    (scratch / "samples" / "suspect.pt").symlink_to(Path(model).resolve())
    (scratch / "samples" / "clean").symlink_to(Path(clean).resolve())
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
    interface = subprocess.Popen(
        [sys.executable, "-m", "auditor", "tui"], cwd=scratch, stdin=slave, stdout=slave, stderr=slave,
        env={**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    try:
        wait(master, "Use the sample", 120)
        os.write(master, b"\r")
        wait(master, "Ready to start", 300)
        os.write(master, b"\r")
        wait(master, "stands out", 600)
        delays = list(presses(master))
        time.sleep(1)
        os.write(master, b"\x11")
        with suppress(subprocess.TimeoutExpired):
            interface.wait(timeout=10)
        return delays, scratch / "runs" / "suspect"
    finally:
        if interface.poll() is None:
            interface.kill()
        os.close(master)


def presses(master: int) -> Iterator[float]:
    """The milliseconds from each key to its paint, until the search has ended."""
    for number in range(100_000):
        began = time.monotonic()
        os.write(master, b"t")
        found = wait(master, TITLES[number % len(TITLES)], 60, ends=("Synthesized trigger", "Choose a method"))
        if not found:
            return
        yield (time.monotonic() - began) * 1000
        said = read(master, PAUSE_S)
        if "Synthesized trigger" in said:
            return


def wait(master: int, words: str, timeout_s: float, ends: tuple[str, ...] = ()) -> bool:
    """Read until the words were drawn, True, or one of the ends, False. Raises TimeoutError."""
    deadline, said = time.monotonic() + timeout_s, ""
    while time.monotonic() < deadline:
        if select.select([master], [], [], 0.005)[0]:
            said += os.read(master, 65536).decode("utf-8", "replace")
            if words in said:
                return True
            if any(end in said for end in ends):
                return False
    raise TimeoutError(f"{words!r} was never drawn")


def read(master: int, seconds: float) -> str:
    """All that is drawn within a time."""
    deadline, said = time.monotonic() + seconds, ""
    while (left := deadline - time.monotonic()) > 0:
        if select.select([master], [], [], left)[0]:
            said += os.read(master, 65536).decode("utf-8", "replace")
    return said


def measure_replay(count: int, folder: Path) -> None:
    """What a replay of many events adds to the resident memory."""
    write_long_run(folder, count)

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
    say({"measure": "replay", "events": count, "resident MB before": round(before), "after": round(after),
         "growth MB": round(after - before, 1), "seconds": round(seconds, 1)})  # fmt: skip


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def write_long_run(folder: Path, count: int) -> None:
    """A run folder with `count` search steps over 43 classes, ten minutes by its clock."""
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
        for number in range(2, count + 2):
            step = SearchStep(
                family=("patch", "additive", "lowfreq", "warp", "feature")[number * 5 // (count + 2)], step=number % 200,
                steps=200, classes=classes, loss=[round(float(x), 6) for x in noise.random(43)],
                attack_success_rate=[round(float(x), 6) for x in noise.random(43)],
                cost=[round(float(x), 6) for x in noise.random(43)], picture_class=number % 43,
            )  # fmt: skip
            line = replace(step, number=number, at_s=number * 600 / count, picture=f"evidence/frames/{number % FRAMES}.npz")
            stream.write(encode(line) + "\n")


if __name__ == "__main__":
    sys.exit(main())
