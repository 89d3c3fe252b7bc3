"""`python -m benchmarks.zoo build | restore | keep | table`: the models, from training, to and from the repository."""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path

import torch

from benchmarks.zoo.build import build, build_apart, manifest, select
from benchmarks.zoo.folders import is_done
from benchmarks.zoo.kept import MODELS, keep, restore
from benchmarks.zoo.recipe import Recipe
from benchmarks.zoo.table import listing, table

VERBS = {
    "build": "train what is neither in --out nor kept",
    "restore": "bring the kept models to --out; train nothing",
    "keep": "write the models of --out to --kept",
    "table": "print one row a model of --out, and counts",
}


def main(argv: list[str] | None = None) -> int:
    """Run one verb; returns the process exit code."""
    args = _parser().parse_args(argv)
    recipes = select(args.only)
    if not recipes:
        print(f"no recipe matches {args.only!r}; --list without --only shows all", file=sys.stderr)
        return 2
    if args.list:
        print("\n".join(listing(recipes, args.out)))
        return 0
    match args.verb:
        case "build":
            torch.set_num_threads(args.threads)
            make = functools.partial(build_apart, jobs=args.jobs) if args.jobs > 1 else build
            make(recipes, args.out, device=args.device, kept=None if args.train else args.kept, report=_say)
        case "restore":
            _restore(recipes, args.out, args.kept)
        case "keep":
            _say(f"{len(keep(select(None), args.out, args.kept))} models written to {args.kept}")
        case "table":
            names = {recipe.name for recipe in recipes}
            _say(table([row for row in manifest(args.out) if row["name"] in names]))
    return 0


def _parser() -> argparse.ArgumentParser:
    verbs = "; ".join(f"{verb}: {does}" for verb, does in VERBS.items())
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__, epilog=verbs)
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("--out", type=Path, default=Path(".zoo"), help="folder of the models (default .zoo)")
    parser.add_argument(
        "--kept", type=Path, default=MODELS, help="folder of the kept weights (default benchmarks/models)"
    )
    parser.add_argument("--only", metavar="PATTERN", help="part of a name, or a shell pattern")
    parser.add_argument("--list", action="store_true", help="list the recipes and whether they are done; do nothing")
    parser.add_argument("--train", action="store_true", help="build: train even what is kept")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of each job")
    parser.add_argument("--jobs", type=int, default=1, help="build: models at once, where cores or a GPU allow")
    return parser


def _restore(recipes: list[Recipe], out: Path, kept: Path) -> None:
    done = [is_done(recipe, out) or restore(recipe, out, kept) for recipe in recipes]
    _say(f"{sum(done)} of {len(recipes)} models are in {out}; `build` makes the rest")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
