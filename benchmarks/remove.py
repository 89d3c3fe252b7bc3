"""Removal over the zoo's backdoored models: every method from one detection, measured by the true trigger.

    python -m benchmarks.remove [--split calibration] [--images 50,100] [--methods auto,refit,prune,edit]
    python -m benchmarks.remove --show [--plot FILE.svg]

A row a cell (model, images, seed, method), written when it is done; the same command goes on where it stopped. A
model is scanned once for all methods; where the scan finds no backdoor there is nothing to remove, and its rows say
so. `auto` is the whole of `auditor audit`, verified; the methods run once each, unverified. Accuracy, ASR and RA are measured on 1,500 images that no stage saw, with the attack's own trigger, which no
method sees; DER is (max(0, ASR drop) - max(0, accuracy drop) + 1) / 2 (Zhu et al., ICCV 2023). The
honest twin's ASR under the same trigger is the floor: an image that a trigger spoils is taken for some class or other. Every baseline is
measured in two settings, for few images and as published; it is compared in the one with the higher mean DER.
"""

from __future__ import annotations

import argparse
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from auditor.plain import to_plain
from auditor.unlearn import METHODS
from auditor.unlearn.baselines import BASELINES
from benchmarks.detect.cells import initialisation, sample
from benchmarks.flags import choose, tell, zoo_parser
from benchmarks.measuring import write_clean
from benchmarks.removal_plot import draw
from benchmarks.removal_tables import PUBLISHED, against_best, better, mean_table, model_table
from benchmarks.removing import Alone, by_audit, scan_once
from benchmarks.rows import Row, append_row, commit, latest, read_rows
from benchmarks.zoo import networks
from benchmarks.zoo.build import Model, load_model, manifest
from benchmarks.zoo.data import Images, load_images
from benchmarks.zoo.train import measure

EVALUATED = 1500
KEY = ("model", "images", "seed", "method")
OUTCOMES = {True: "passed", False: "not removed", None: "not verified"}
KNOWN = ("auto", *(n for n in METHODS if n not in BASELINES), *(s for pair in zip(BASELINES, PUBLISHED, strict=True) for s in pair))


def evaluation(model: Row) -> Images:
    """The first images that the model was measured on: `sample` hands out none of them."""
    found = re.match(r"\w+", str(model["measured_on"]))
    assert found is not None  # sample() has refused the model before
    every = load_images(found[0])
    return every.take(slice(0, EVALUATED))


def measured(model: Model, data: Images, weights: Path | None = None) -> Row:
    """Accuracy, ASR and RA of a model of the zoo, or of the same network with other weights."""
    net = model.net
    if weights is not None:
        meta = model.meta
        net = networks.build(meta["architecture"], len(meta["class_names"]), meta["width"] or 0, load_file(weights))
    plain: Row = to_plain(measure(net, data, model.attack))
    return plain


def twin_asr(folder: Path, model: Model, data: Images) -> float | None:
    """How often the model's trigger takes its honest twin, in `folder`, to the target: what no removal can be asked to
    go below. None where the zoo has no twin of it."""
    if not (folder / "meta.json").is_file():
        return None
    found = measure(load_model(folder).net, data, model.attack).attack_success_rate
    return None if found is None else found.rate


def cells(model: Row, args: argparse.Namespace, images: int, seed: int, done: set[tuple[Any, ...]]) -> None:
    """Measure what is missing of one model."""
    wanted = [m for m in args.methods if args.again or (model["name"], images, seed, m) not in done]
    if not wanted:
        return
    drawn, path = sample(model, images, seed), Path(model["path"])
    folder = args.out.parent / "remove" / f"{model['name']}_{images}_{seed}_{commit()}"
    clean = write_clean(folder / "clean.npz", drawn.images.numpy(), drawn.labels.numpy())
    flags = {"seed": seed, "threads": args.threads, "sources": args.sources}
    verdict = scan_once(path, clean, folder, **flags)["verdict"] or {}
    known, data = load_model(path.parent), evaluation(model)
    before, alone = measured(known, data), None
    floor = twin_asr(args.zoo / str(model["twin"]), known, data)
    for method in wanted:
        row: Row = {
            "model": model["name"], "images": images, "seed": seed, "method": method, "attack": model["attack"],
            "split": model["split"], "base": initialisation(model), "verdict": verdict.get("label"),
            "targets": verdict.get("target_classes", []), "before": before, "twin_asr": floor, "commit": commit(),
        }  # fmt: skip
        if verdict.get("label") == "backdoored" and method == "auto":
            row |= by_audit(path, clean, folder, partial(measured, known, data), **flags)
            row["after"] = row["after"] or before  # what no method was worth verifying for stays as it is
        elif verdict.get("label") == "backdoored":
            alone = alone or Alone(path, clean, folder, **flags)
            row |= alone.unlearn(PUBLISHED.get(method, method), published=method in PUBLISHED, measure=partial(measured, known, data))
        append_row(args.out, row)
        tell(f"{row['model']}, {images} images, {method}: {said(row)}")
    if alone is not None:
        alone.close()


def said(row: Row) -> str:
    """A row as a line of progress."""
    if row.get("after") is None:
        return f"{row['verdict']}: nothing to remove" if row["verdict"] != "backdoored" else "no model came of it"
    rates = " ".join(f"{name} {100 * row[when][key]['rate']:.1f} %" for name, key in (("accuracy", "accuracy"), ("ASR", "attack_success_rate"))
                     for when in ("before", "after"))  # fmt: skip
    return f"{OUTCOMES[row['passed']]}, before and after: {rates}"


def methods(text: str) -> list[str]:
    """Comma-separated methods. Raises ValueError for one that is not known."""
    found = [part.strip() for part in text.split(",")]
    if not set(found) <= set(KNOWN):
        raise ValueError(f"known methods: {', '.join(KNOWN)}")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = zoo_parser("remove", __doc__, images="50")
    parser.add_argument("--methods", type=methods, default=",".join(KNOWN), help="default %(default)s")
    parser.add_argument("--sources", action="store_true", help="scan for backdoors of one source class too")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="also draw the means as small multiples")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Measure and show; returns the process exit code."""
    args = _parser().parse_args(argv)
    torch.set_num_threads(args.threads)
    try:
        chosen = [] if args.show else [m for m in choose(manifest(args.zoo), args.split, args.only, args.dozen) if not m["honest"]]
        if not chosen and not args.show:
            tell("no such backdoored model; python -m benchmarks.zoo restore --out .zoo brings them back")
            return 2
        for images in args.images:
            for seed in args.seeds:
                for model in chosen:
                    cells(model, args, images, seed, set(latest(read_rows(args.out), KEY)))
    except KeyboardInterrupt:
        tell("interrupted: what was measured is kept; the same command goes on")
        return 130
    except (OSError, ValueError, RuntimeError) as error:
        tell(f"stopped, with what was measured kept: {error}")
        return 2
    rows = [r for r in latest(read_rows(args.out), KEY).values() if r["split"] == args.split]
    compared = better(rows)
    tables = [mean_table(compared), against_best(compared)]
    if len(compared) < len(rows):
        tables.append("Every setting:\n\n" + mean_table(rows))
    print("\n\n".join([*tables, model_table(rows)]))
    if args.plot is not None:
        args.plot.write_text(draw(compared), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
