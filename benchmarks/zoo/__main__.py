"""`python -m benchmarks.zoo build --out .zoo [--only PATTERN] [--list]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from benchmarks.zoo.build import build, is_done, select


def main(argv: list[str] | None = None) -> int:
    """Run the builder; returns the process exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__)
    parser.add_argument("verb", choices=["build"])
    parser.add_argument("--out", type=Path, default=Path(".zoo"), help="folder of the models (default .zoo)")
    parser.add_argument("--only", metavar="PATTERN", help="part of a name, or a shell pattern")
    parser.add_argument("--list", action="store_true", help="list the recipes and whether they are done; build nothing")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    recipes = select(args.only)
    if not recipes:
        print(f"no recipe matches {args.only!r}; --list without --only shows all", file=sys.stderr)
        return 2
    if args.list:
        for recipe in recipes:
            print(f"{'done' if is_done(recipe, args.out) else '-':5}{recipe.split:9}{recipe.name}")
        return 0
    torch.set_num_threads(args.threads)
    build(recipes, args.out, device=args.device, report=lambda line: print(line, flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
