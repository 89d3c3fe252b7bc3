"""Runs cells, one thread each and several side by side; each row is handed on as soon as it is measured."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

from benchmarks.detect.cells import Cell, commit_once, measure
from benchmarks.rows import Row

Report = Callable[[str], None]


def run_cells(cells: Sequence[Cell], jobs: int, *, report: Report = lambda line: None) -> Iterator[Row]:
    """Yield each cell's row when it is done, reporting progress with the time left.

    Closing the iterator, or an interrupt, stops the cells that are running: only they are lost.
    """
    began = time.perf_counter()
    for done, row in enumerate(_rows(cells, jobs), start=1):
        elapsed = time.perf_counter() - began
        yield row
        report(f"{done} of {len(cells)}: {said(row)}; {left(elapsed, done, len(cells))}")


def _rows(cells: Sequence[Cell], jobs: int) -> Iterator[Row]:
    """In this process for one job; else in processes that live on, since importing torch takes seconds."""
    if jobs == 1:
        yield from map(measure, cells)
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin)
    finished = False
    try:
        futures = [pool.submit(measure, cell) for cell in cells]
        for future in as_completed(futures):
            yield future.result()
        finished = True
    finally:
        if not finished:
            for process in multiprocessing.active_children():
                process.terminate()
        pool.shutdown(wait=finished, cancel_futures=True)


def _begin() -> None:
    """A worker leaves interrupts to its parent, and notes the commit whose code it loaded."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    commit_once()


def said(row: Row) -> str:
    """A row as a line of progress."""
    score = "-" if row["score"] is None else f"{row['score']:.3g}"
    what = row["error"] or f"{row['label']} {row['targets'] or ''}".strip()
    return (f"{row['model']}, {row['detector']}, {row['images']} images, seed {row['seed']}: {what}, score {score}, "
            f"{row['seconds']:.0f} s")  # fmt: skip


def left(elapsed: float, done: int, total: int) -> str:
    """The time left at the pace so far, `1 h 05 min left`."""
    minutes = math.ceil(elapsed / done * (total - done) / 60)
    return f"{minutes // 60} h {minutes % 60:02} min left" if minutes >= 60 else f"{minutes} min left"
