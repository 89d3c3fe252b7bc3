"""Backdoors of one source class: what stands out among pairs of a source and a target, on the zoo.

    python -m benchmarks.sources --split calibration --split opened     # search, a row a model
    python -m benchmarks.sources --fit                                  # write auditor/verdict/pairs.json
    python -m benchmarks.sources --split held_out --show

The profile of pairs is fitted on honest models of the calibration and opened splits. Models of those splits are
weighed by a profile without their own initialisation, from the honest rows that are there, others by the one shipped.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auditor.events import Control, drain
from auditor.images import split, within_work
from auditor.search.budgets import MOST_CLASSES
from auditor.search.sources import STARTS, right, search_sources
from auditor.suspect import Suspect
from auditor.verdict import pairs
from auditor.verdict.pairs import PairProfile, make_pair_profile
from auditor.verdict.weighing_pairs import look_again
from benchmarks.detect.cells import initialisation, sample
from benchmarks.detect.examples import DATA_SETS
from benchmarks.detect.fit import FITTED_ON
from benchmarks.rows import RESULTS, ROOT, Row, append_row, commit, latest, read_rows, table
from benchmarks.zoo.build import load_model, manifest
from benchmarks.zoo.recipe import reserved

KEY = ("model", "images", "seed", "starts")
OUT = Path(pairs.__file__).with_name(pairs.PAIRS)
HEAD = ("model", "attack", "source, target", "images", "draw", "starts", "furthest pair", "times cheaper", "stands out", "flips", "said", "seconds")
Floats = NDArray[np.float64]


def measure(model: Row, count: int, seed: int, honest: Sequence[Row], starts: int = STARTS) -> Row:
    """Search one model on the images a scan would be handed, and look again at what stands out, by profiles of `honest` rows."""
    suspect, images, labels, parts = opened(model, count, seed)
    work = np.concatenate(parts)
    known = profiles(honest, without=initialisation(model)) if model["split"] in FITTED_ON else None
    began, control = time.perf_counter(), Control()
    searched = right(suspect, images[work], labels[work])
    found = drain(search_sources(suspect, images, labels, seed=seed, control=control, with_steps=False, pairs_on=(images[work], labels[work]),
                                 starts=starts))  # fmt: skip
    looked = drain(look_again(suspect, found, *searched, seed=seed, control=control, profiles=known))
    row: Row = {
        "model": model["name"], "images": count, "seed": seed, "starts": starts, "split": model["split"], "base": initialisation(model),
        "architecture": model["architecture"], "honest": model["honest"], "attack": model["attack"], "target": model["target"],
        "sources": model["source_classes"], "cost": [[_short(v) for v in line] for line in found.cost.tolist()],
        "looked": [{"source": lead.triggers[0].source_classes[0], "target": lead.triggers[0].target_class, "cheaper": _short(lead.cheaper),
                    "standing": _short(lead.standing), "flips": [lead.rate.hits, lead.rate.total], "confirmed": lead.confirmed, "refuted": lead.refuted}
                   for lead in looked],
        "forward_images": suspect.meter.forward_images, "backward_images": suspect.meter.backward_images,
        "seconds": round(time.perf_counter() - began, 1), "commit": commit(),
    }  # fmt: skip
    return row


def opened(model: Row, count: int, seed: int) -> tuple[Suspect, Tensor, Tensor, tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """A model of the zoo, the images and labels a scan would be handed, and which of them it searches and confirms on."""
    data, built = sample(model, count, seed), load_model(Path(model["path"]).parent)
    pixels, labels = data.images.permute(0, 2, 3, 1).numpy(), data.labels.numpy()
    fit, hold = within_work(pixels, labels, split(pixels, labels, seed), seed)
    meta = model["normalization"]
    _, channels, height, width = data.images.shape
    suspect = Suspect(built.net, num_classes=len(data.class_names), input_shape=(channels, height, width),
                      mean=tuple(meta["mean"]), std=tuple(meta["std"]))  # fmt: skip
    return suspect, data.images.float() / 255, data.labels, (fit, hold)


def _short(value: float) -> float | None:
    return float(f"{value:.5g}") if np.isfinite(value) else None


def costs(row: Row) -> Floats:
    """The cost matrix (K, K) of a row."""
    return np.array(row["cost"], dtype=np.float64)


def fitted_on(row: Row) -> bool:
    """Whether a row may teach a profile: an honest model's, of the splits to fit on, of no reserved network, one of a hundred images."""
    return bool(row["honest"]) and (row["images"], row["seed"], row["starts"]) == (100, 0, STARTS) and row["split"] in FITTED_ON and not reserved(None, row["architecture"])


def profiles(rows: Sequence[Row], without: str | None = None) -> list[PairProfile]:
    """A profile for every number of classes of two honest models or more, leaving out an initialisation."""
    found: dict[int, list[Floats]] = {}
    for row in rows:
        if fitted_on(row) and row["base"] != without:
            found.setdefault(len(row["cost"]), []).append(costs(row))
    return [make_pair_profile(DATA_SETS.get(k, f"{k} classes"), many) for k, many in sorted(found.items()) if len(many) > 1]


def show(rows: Sequence[Row]) -> str:
    """One line a model."""
    lines = []
    for row in sorted(rows, key=lambda r: (r["honest"], r["model"], r["images"], r["seed"], r["starts"])):
        best, said = (row["looked"] or [None])[0], "-"
        if best and best["standing"] >= 1:
            said = "a backdoor" if best["confirmed"] else "refuted" if best["refuted"] else "not confirmed"
        lines.append((row["model"], row["attack"] or "honest", f"{row['sources'] or '-'}, {row['target']}" if row["target"] is not None else "-",
                      row["images"], row["seed"], row["starts"], f"{best['source']} to {best['target']}" if best else "-", best["cheaper"] if best else "-",
                      best["standing"] if best else "-", "{} of {}".format(*best["flips"]) if best else "-", said, row["seconds"]))  # fmt: skip
    return "Asked: 1.\n\n" + table(HEAD, lines)


def write(rows: Sequence[Row]) -> None:
    """Write the profiles that ship, from all rows that may teach one."""
    made = [{"name": p.name, "models": p.models,
             "beside": [[None if np.isnan(v) else round(float(v), 4) for v in line] for line in p.beside]} for p in profiles(rows)]  # fmt: skip
    OUT.write_text(json.dumps(made, indent=1) + "\n")


def main(argv: list[str] | None = None) -> int:
    """Measure what is missing, fit or show; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sources", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    add = parser.add_argument
    add("--split", action="append", help="models of this split, which may be given again (default held_out)")
    add("--only", metavar="TEXT", default="", help="models with this in their name")
    add("--images", type=int, default=100)
    add("--seed", type=int, default=0)
    add("--starts", type=int, default=STARTS, help="times every pair is begun (default %(default)s; --sources: 3)")
    add("--zoo", type=Path, default=ROOT / ".zoo")
    add("--out", type=Path, default=RESULTS / "sources.jsonl", metavar="FILE.jsonl")
    add("--fit", action="store_true", help="measure nothing: write the profiles that ship")
    add("--show", action="store_true", help="measure nothing: the table of what is done")
    args = parser.parse_args(argv)
    rows, splits = latest(read_rows(args.out), KEY), args.split or ["held_out"]
    if args.fit:
        write(list(rows.values()))
        return 0
    torch.set_num_threads(1)
    chosen = [m for m in manifest(args.zoo) if m["split"] in splits and args.only in m["name"] and len(m["class_names"]) <= MOST_CLASSES]
    for model in chosen if not args.show else []:
        if (model["name"], args.images, args.seed, args.starts) not in rows:
            row = measure(model, args.images, args.seed, list(rows.values()), args.starts)
            rows[row["model"], row["images"], row["seed"], row["starts"]] = row
            append_row(args.out, row)
            print(f"{row['model']}: {row['looked'][:1] or 'nothing to look at'}, {row['seconds']:.0f} s", file=sys.stderr)
    print(show([r for r in rows.values() if r["split"] in splits]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
