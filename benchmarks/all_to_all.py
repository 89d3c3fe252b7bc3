"""All-to-all backdoors: how the cheapest step stands beside the others, on the zoo's models.

    python -m benchmarks.all_to_all --split calibration [--images 20,50,100]
    python -m benchmarks.all_to_all --split held_out
    python -m benchmarks.all_to_all --show

A row a model and image budget, written when it is done; those in the file are not measured again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import torch

from auditor.events import Control, drain
from auditor.search.budgets import MOST_CLASSES
from auditor.search.sources import search_sources
from auditor.verdict.sources import SHIFT_RATIO, cheapest_step, weigh_steps
from benchmarks.detect.cells import initialisation
from benchmarks.flags import measure_models, zoo_parser
from benchmarks.rows import Row, commit, table
from benchmarks.sources import opened

HEAD = ("split", "images", "models of all to all: the cheapest step beside the others", "said", "other models", "the least of them",
        "over", "images forward", "seconds")  # fmt: skip


def measure(model: Row, args: argparse.Namespace, count: int, seed: int) -> Row:
    """Search one model on the images a scan would be handed, confirming on those that are held out."""
    suspect, images, labels, (work, unseen) = opened(model, count, seed)
    began = time.perf_counter()
    found = drain(search_sources(suspect, images[work], labels[work], seed=seed, control=Control()))
    seconds, passed = time.perf_counter() - began, suspect.meter.forward_images
    leads, best = weigh_steps(suspect, found, images[unseen], labels[unseen]), cheapest_step(found.shifts)
    return {
        "model": model["name"], "images": count, "seed": seed, "split": model["split"], "base": initialisation(model),
        "architecture": model["architecture"], "honest": model["honest"], "attack": model["attack"], "kind": model["kind"],
        "steps": [(s.step, float(f"{s.cost:.5g}"), round(s.flip_share, 3)) for s in found.shifts],
        "ratio": round(best[1], 4) if best else None,
        "flips": [leads[0].rate.hits, leads[0].rate.total] if leads else None, "confirmed": bool(leads and leads[0].confirmed),
        "forward_images": passed, "seconds": round(seconds, 1), "commit": commit(),
    }  # fmt: skip


def show(rows: Sequence[Row]) -> str:
    """One line a split and image budget."""
    lines = []
    for split, count in sorted({(row["split"], row["images"]) for row in rows}):
        own = [row for row in rows if (row["split"], row["images"]) == (split, count)]
        moved, others = ([r for r in own if (r["kind"] == "all_to_all") is wanted] for wanted in (True, False))
        ratios, seconds = [r["ratio"] for r in others if r["ratio"] is not None], [r["seconds"] for r in own]
        lines.append((
            split, count, ", ".join(f"{r['model']} {said(r)}" for r in moved), f"{sum(r['confirmed'] for r in moved)} of {len(moved)}",
            len(others), f"{min(ratios):.2f}" if ratios else "-", sum(r["flips"] is not None for r in others),
            max(r["forward_images"] for r in own), f"{min(seconds):.0f} to {max(seconds):.0f}",
        ))  # fmt: skip
    return f"Asked: a step that works at {SHIFT_RATIO:.0%} of the median cost of the others.\n\n" + table(HEAD, lines)


def said(row: Row) -> str:
    """A row in a few words."""
    return "none works" if row["ratio"] is None else f"{row['ratio']:.2f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and show; returns the exit code."""
    args = zoo_parser("all_to_all", __doc__, images="100").parse_args(argv)
    torch.set_num_threads(1)
    print(show(measure_models(args, lambda model: len(model["class_names"]) <= MOST_CLASSES, measure, said)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
