"""What the terminal interface costs the search beside it: the interface stops and goes on by turns.

    python -m benchmarks.tui_slowdown [--repeats 4] [--keys]

Whole searches cannot show a few percent: on a shared machine the same one takes 40 to 58 s. So one search in `auditor tui`
on a pseudo-terminal is cut into turns of a few seconds. In every other one the interface's process is stopped
(SIGSTOP), and the search, in its own process, is as alone as without it; in the others it paints, and with `--keys` a
key a second makes it paint more. The durations of the search's steps in a turn are compared with those in the turns next to
it, each with its kind. Stopped events wait in the pipe, and what the interface does when it goes on counts against it.
Writes a JSON line a search, and one for all: the slowdown with its bootstrap interval over pairs of turns.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.terminal import ROOT, Terminal
from benchmarks.tui_latency import drive, say

TURN_S = 2.0
KEY_S = 1.0
REPLICATES = 2000
# Textual sets the terminal up anew when it is continued, as after ctrl+z in a shell: here it would hang on that.
DEAF = ("-c", "import signal; real = signal.signal; signal.signal = lambda n, h: None if n == signal.SIGCONT else real(n, h); "
        "import sys; sys.argv[1:] = ['tui']; from auditor.cli.main import entry_point; entry_point()")  # fmt: skip
Turn = tuple[float, float, bool]  # from, to, in seconds since 1970; whether the interface was at work
Span = tuple[str, float, float]  # family and classes, midpoint in seconds since 1970, seconds a step


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(ROOT / "samples" / "suspect.pt"))
    parser.add_argument("--clean", default=str(ROOT / "samples" / "clean"))
    parser.add_argument("--repeats", type=int, default=4, metavar="N", help="searches (default %(default)s)")
    parser.add_argument("--keys", action="store_true", help="press a key a second too")
    chosen = parser.parse_args()
    say({"load before": os.getloadavg(), "cores": os.cpu_count()})
    pairs: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(chosen.repeats):
            turns, run = drive(chosen.model, chosen.clean, Path(scratch) / str(number), partial(by_turns, has_keys=chosen.keys), DEAF)
            found = compared(spans(run), turns)
            pairs += found
            say({"measure": "one search", "pairs of turns": len(found), "slower by": round(slowdown(found), 3)})
    low, high = interval(pairs)
    say({"measure": "search beside the interface", "keys": chosen.keys, "searches": chosen.repeats, "pairs of turns": len(pairs),
         "slower by": round(slowdown(pairs), 3), "interval": [round(low, 3), round(high, 3)], "load after": os.getloadavg()})  # fmt: skip
    return 0


def by_turns(terminal: Terminal, run: Path, *, has_keys: bool) -> Iterator[Turn]:
    """Stop the interface and let it go on, until the scan has ended."""
    is_at_work = True
    try:
        while not (run / "result.json").exists():
            began = time.time()
            os.kill(terminal.process.pid, signal.SIGCONT if is_at_work else signal.SIGSTOP)
            next_key = began if is_at_work and has_keys else math.inf
            while time.time() < began + TURN_S:
                if time.time() >= next_key:
                    terminal.press("t")
                    next_key += KEY_S
                terminal.drain(0.1)
                time.sleep(0.1)
            yield began, time.time(), is_at_work
            is_at_work = not is_at_work
    finally:
        os.kill(terminal.process.pid, signal.SIGCONT)
    deadline = time.time() + 2
    while time.time() < deadline:  # what waited in the pipe is drawn before the interface is left
        terminal.drain(0.1)


def spans(run: Path) -> list[Span]:
    """The times between reports that followed each other in one phase of the search, by the clock on the wall."""
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    steps = [event for event in events if event["event"] == "SearchStep"]
    # A frame is written just before its event: its time of writing says when the run's own clock began.
    origins = [(run / event["picture"]).stat().st_mtime - event["at_s"] for event in steps if event.get("picture")]
    origin = statistics.median(origins)
    found = []
    for before, after in itertools.pairwise(steps):
        taken, made = after["at_s"] - before["at_s"], after["step"] - before["step"]
        if (kind := _kind(after)) == _kind(before) and made > 0 and taken > 0:
            found.append((kind, origin + (before["at_s"] + after["at_s"]) / 2, taken / made))
    return found


def _kind(step: dict[str, Any]) -> str:
    """Steps of one family over as many classes take equally long."""
    return f"{step['family']} {len(step['classes'])}"


def compared(spans: Sequence[Span], turns: Sequence[Turn]) -> list[float]:
    """For every two turns that follow each other and share a kind of step, the log of how much longer a step took beside
    the interface, by medians."""
    inside = [[span for span in spans if start <= span[1] < end] for start, end, _ in turns]
    found = []
    for (first, second), (_, _, is_at_work) in zip(itertools.pairwise(inside), turns, strict=False):
        beside, alone = (first, second) if is_at_work else (second, first)
        for kind in {span[0] for span in beside} & {span[0] for span in alone}:
            with_it, without = (statistics.median(np.log(seconds) for name, _, seconds in part if name == kind) for part in (beside, alone))
            found.append(float(with_it - without))
    return found


def slowdown(pairs: Sequence[float]) -> float:
    """The median pair, as a share: 0.05 is five percent slower."""
    return float(np.expm1(np.median(pairs)))


def interval(pairs: Sequence[float]) -> tuple[float, float]:
    """The slowdown's percentile bootstrap over pairs, at 95 %."""
    drawn = np.random.default_rng(0).choice(np.asarray(pairs), (REPLICATES, len(pairs)))
    low, high = np.expm1(np.quantile(np.median(drawn, axis=1), [0.025, 0.975]))
    return float(low), float(high)


if __name__ == "__main__":
    sys.exit(main())
