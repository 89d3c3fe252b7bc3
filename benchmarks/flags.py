"""What the benchmarks over the zoo's models have in common on their command lines."""

from __future__ import annotations

import argparse
import fnmatch
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

from benchmarks.detect.cells import dozen
from benchmarks.rows import RESULTS, ROOT, Row, append_row, latest, read_rows
from benchmarks.shared_zoo import seeds
from benchmarks.zoo.build import manifest

MODEL_KEY = ("model", "images", "seed")
Wanted = Callable[[Row], bool]
Measure = Callable[[Row, argparse.Namespace, int, int], Row]


def zoo_parser(name: str, description: str | None, *, images: str) -> argparse.ArgumentParser:
    """The parser of `python -m benchmarks.NAME`: which models, images and seeds, and where its rows go."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    add = parser.add_argument
    add("--split", default="held_out", help="models of this split (default held_out)")
    add("--only", metavar="PATTERN", help="models with this in their name, or matching it as a shell pattern")
    add("--dozen", action="store_true", help="the fixed stratified dozen of the split: 4 honest, 8 backdoored")
    add("--images", type=seeds, default=images, metavar="N[,N]", help="clean images handed over (default %(default)s)")
    add("--seeds", type=seeds, default="0", metavar="S[,S]", help="draw images and seed the runs (default 0)")
    add("--zoo", type=Path, default=ROOT / ".zoo", help="folder of the models (default .zoo)")
    add("--out", type=Path, default=RESULTS / f"{name}.jsonl", metavar="FILE.jsonl")
    add("--again", action="store_true", help="measure again what is done")
    add("--show", action="store_true", help="measure nothing: the tables of what is done")
    return parser


def choose(models: Sequence[Row], split: str, only: str | None, twelve: bool) -> list[Row]:
    """The models of a split, or its dozen; then those that `only` names."""
    found = [m for m in models if m["split"] == split]
    found = dozen(found) if twelve else found
    return [m for m in found if only is None or only in m["name"] or fnmatch.fnmatch(m["name"], only)]


def measure_models(args: argparse.Namespace, is_wanted: Wanted, measure: Measure, said: Callable[[Row], str]) -> list[Row]:
    """A row for every wanted model, count of images and seed that is not there yet; then all rows of the file."""
    models = [] if args.show else [m for m in choose(manifest(args.zoo), args.split, args.only, args.dozen) if is_wanted(m)]
    for images, seed in product(args.images, args.seeds):
        done = set(latest(read_rows(args.out), MODEL_KEY))
        for model in models:
            if args.again or (model["name"], images, seed) not in done:
                row = measure(model, args, images, seed)
                append_row(args.out, row)
                tell(f"{model['name']}, {images} images: {said(row)}")
    return list(latest(read_rows(args.out), MODEL_KEY).values())


def tell(line: str) -> None:
    """A line of progress, on stderr."""
    print(line, file=sys.stderr, flush=True)
