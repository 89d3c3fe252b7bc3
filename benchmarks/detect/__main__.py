"""Detection over the zoo's models, by `auditor` and by Neural Cleanse on the same images.

    python -m benchmarks.detect [--images 50,100] [--jobs 4]
    python -m benchmarks.detect --dozen --images 0,10,500
    python -m benchmarks.detect --dozen --images 100 --seeds 0,1,2 --repeats 2
    python -m benchmarks.detect --merge OTHER.jsonl --show

A row a cell (model, detector, images, seed, profile, repeat), written when it is done: the same command goes on
where it stopped. Rows that ended in an error, or of a model that was built anew, are measured again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path

from benchmarks.detect.cells import DETECTORS, KEY, initialisation, is_done, leaks, plan
from benchmarks.detect.running import run_cells
from benchmarks.detect.tables import show
from benchmarks.flags import choose, tell, zoo_parser
from benchmarks.rows import Row, append_row, latest, read_rows
from benchmarks.zoo.build import manifest


def names(text: str) -> list[str]:
    """Comma-separated detectors. Raises ValueError for one that is not known."""
    found = [part.strip() for part in text.split(",")]
    if not set(found) <= set(DETECTORS):
        raise ValueError(f"known detectors: {', '.join(DETECTORS)}")
    return found


def at_least_one(text: str) -> int:
    """A whole number above zero. Raises ValueError for anything else."""
    if int(text) < 1:
        raise ValueError("at least 1")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = zoo_parser("detect", __doc__, images="100")
    add = parser.add_argument
    add("--repeats", type=at_least_one, default=1, metavar="N", help="runs of each seed, which must agree (default 1)")
    add("--detectors", type=names, default=",".join(DETECTORS), help="default %(default)s")
    add(
        "--profile",
        choices=("quick", "standard", "deep"),
        default="standard",
        help="of the auditor; default %(default)s",
    )
    add("--nc-classes-at-once", type=at_least_one, metavar="K", help="of Neural Cleanse (default: by memory)")
    add("--jobs", type=at_least_one, default=1, metavar="N", help="cells side by side, one thread each (default 1)")
    add("--device", default="cpu")
    add("--merge", type=Path, nargs="+", default=[], metavar="FILE", help="first add the cells of these files")
    add("--models", action="store_true", help="also show one line a model")
    return parser


def merge(out: Path, others: Sequence[Path]) -> int:
    """Add rows of `others` whose cell has none in `out`; returns how many. Raises ValueError for a bad file."""
    known, added = set(latest(read_rows(out), KEY)), 0
    for other in others:
        if not other.is_file():
            raise ValueError(f"{other} is not there")
        for key, row in latest(read_rows(other), KEY).items():
            if key not in known:
                append_row(out, row)
                known.add(key)
                added += 1
    return added


def main(argv: list[str] | None = None) -> int:
    """Measure and show; returns the process exit code."""
    args = _parser().parse_args(argv)
    try:
        if args.merge:
            tell(f"{merge(args.out, args.merge)} rows added from {len(args.merge)} files")
        rows = latest(read_rows(args.out), KEY)
        models = [] if args.show else manifest(args.zoo)
    except (OSError, ValueError) as error:
        tell(str(error))
        return 2
    splits = [(initialisation(m), m["split"]) for m in models] + [(r["base"], r["split"]) for r in rows.values()]
    if shared := leaks(splits):
        tell(f"held_out shares initialisations with another split, so it measures nothing: {', '.join(shared)}")
        return 2
    code = 0 if args.show else _measure(args, models, rows)
    if code != 2:
        print(show(read_rows(args.out), args.split, models=args.models))
    return code


def _measure(args: argparse.Namespace, models: Sequence[Row], rows: dict[tuple[object, ...], Row]) -> int:
    chosen = choose(models, args.split, args.only, args.dozen)
    if not chosen:
        splits = sorted({m["split"] for m in models})
        tell(f"no such model of split {args.split!r} in {args.zoo.name} (splits there: {', '.join(splits) or 'none'}); "
             "python -m benchmarks.zoo build makes them")  # fmt: skip
        return 2
    if args.dozen:
        tell(f"the dozen: {', '.join(m['name'] for m in chosen)}")
    cells = plan(chosen, detectors=args.detectors, images=args.images, seeds=args.seeds, profile=args.profile,
                 repeats=args.repeats, device=args.device, classes_at_once=args.nc_classes_at_once)  # fmt: skip
    wanted = [cell for cell in cells if args.again or not is_done(cell, rows)]
    tell(f"{len(wanted)} of {len(cells)} cells to measure")
    try:
        for row in run_cells(wanted, args.jobs, report=tell):
            append_row(args.out, row)
    except KeyboardInterrupt:
        tell("interrupted: what was measured is kept; the same command goes on")
        return 130
    except (OSError, ValueError, BrokenExecutor) as error:
        tell(f"stopped, with what was measured kept: {type(error).__name__}: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
