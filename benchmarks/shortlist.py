"""Shortlist recall: how often the true target is among the classes that a scan of many classes would search.

    python -m benchmarks.shortlist --split calibration [--images 50,100]        # then opened, held_out
    python -m benchmarks.shortlist --show

Beyond 28 classes a scan searches a shortlist, half by the shared search and half by the last layer's rows, and 20 random
classes to compare with. Here only the shortlist is made, on the images a scan would be handed: seconds a model. A row a
model, image budget and seed, written when it is done; those in the file are not measured again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import torch

from auditor.datafree.rows import last_layer_rows
from auditor.events import Control, drain
from auditor.metrics import wilson
from auditor.pipeline.detecting import MOST_SHARED
from auditor.pipeline.session import evenly
from auditor.search.shared import shared_search
from auditor.search.shortlist import ALL_UP_TO, NULL_SAMPLE, shortlist
from auditor.unlearn.twin import make_twin
from benchmarks.detect.cells import initialisation
from benchmarks.flags import measure_models, zoo_parser
from benchmarks.rows import Row, commit, rate_cell, table
from benchmarks.sources import opened

ORDERS = ("both", "shared", "rows")
HEAD = ("split", "images", "models", "shortlist of", "shared search and rows (shipped)", "shared search alone", "rows alone", "by chance",
        "with the random sample, expected")  # fmt: skip


def measure(model: Row, args: argparse.Namespace, count: int, seed: int) -> Row:
    """Which shortlist each order makes of one model, and whether the target is on it."""
    suspect, images, labels, (work, _) = opened(model, count, seed)
    fit = evenly(torch.from_numpy(work), labels, MOST_SHARED)
    twin = make_twin(suspect, images[fit], labels[fit], seed=seed)
    shared = drain(shared_search(suspect, twin.suspect, images[fit], labels[fit], generator=torch.Generator().manual_seed(seed), control=Control()))
    prior = last_layer_rows(suspect).mean_z
    lists = {"both": shortlist(suspect.num_classes, shared, prior), "shared": shortlist(suspect.num_classes, shared)}
    lists["rows"] = set(np.argsort(-np.nan_to_num(prior, nan=-np.inf), kind="stable")[: len(lists["both"])].tolist())
    return {
        "model": model["name"], "images": count, "seed": seed, "split": model["split"], "base": initialisation(model), "attack": model["attack"],
        "target": model["target"], "classes": suspect.num_classes, "listed": len(lists["both"]),
        **{order: model["target"] in found for order, found in lists.items()}, "commit": commit(),
    }  # fmt: skip


def show(rows: Sequence[Row]) -> str:
    """One line a split and image budget."""
    lines = []
    for split, count in sorted({(row["split"], row["images"]) for row in rows}):
        own = [row for row in rows if (row["split"], row["images"]) == (split, count)]
        recall = [wilson(sum(row[order] for row in own), len(own)) for order in ORDERS]
        chance = float(np.mean([row["listed"] / row["classes"] for row in own]))
        sampled = float(np.mean([NULL_SAMPLE / (row["classes"] - row["listed"]) for row in own]))
        lines.append((split, count, len(own), max(row["listed"] for row in own), *map(rate_cell, recall), f"{chance:.0%}",
                      f"{1 - (1 - (recall[0].rate or 0.0)) * (1 - sampled):.0%}"))  # fmt: skip
    missed = [f"{row['model']} ({row['images']} images)" for row in rows if not row["both"]]
    return table(HEAD, lines) + (f"\n\nNot on the shortlist: {', '.join(missed)}." if missed else "")


def said(row: Row) -> str:
    """A row in a few words."""
    return "on the shortlist" if row["both"] else "not on the shortlist"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and show; returns the exit code."""
    args = zoo_parser("shortlist", __doc__, images="100").parse_args(argv)
    torch.set_num_threads(1)
    print(show(measure_models(args, lambda m: m["target"] is not None and len(m["class_names"]) > ALL_UP_TO, measure, said)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
