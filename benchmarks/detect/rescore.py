"""Scores rows again by the bank as it is, from the searches they hold; what that cannot tell is to be measured again.

    python -m benchmarks.detect.rescore benchmarks/rows/held_out.jsonl --out .zoo/results/held_out.jsonl

A change of the bank changes no search. A row below the threshold is no evidence, and one whose confirmed targets are
just the classes above it stays what it was. Of any other the trigger that would confirm it was never tried: it is left
out and named, and `python -m benchmarks.detect --out` on the same file measures it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from auditor.verdict.calibration import Bank, nearest_table
from benchmarks.detect.examples import example, profiled
from benchmarks.flags import tell
from benchmarks.rows import Row, append_row, commit, read_rows


def rescored(row: Row) -> Row | None:
    """The row by the shipped bank; None where its verdict has to be measured. Raises ValueError without a bank."""
    table = nearest_table(row["profile"], row["images"])
    if table is None:
        raise ValueError("the bank is empty")
    e = profiled(example(row), next((p for p in table.profiles if p.classes == row["classes"]), None))
    beyond = table.beyond(images=row["images"], profile=row["profile"], num_classes=row["classes"], pixels=table.pixels[0],
                          architecture=row["architecture"])  # fmt: skip
    score_K = table.scoring.class_scores(e.families, e.z_FK, e.rows_K)
    above = [e.classes[k] for k in np.flatnonzero(score_K >= Bank(table=table, beyond=beyond).threshold)]
    found = {"score": float(score_K.max()), "rescored": commit()}
    if not above:
        return row | found | {"label": "no_evidence", "targets": [], "said_kind": None}
    return row | found if row["label"] == "backdoored" and sorted(row["targets"]) == above else None


def rescorable(row: Row) -> bool:
    """Whether the row holds a whole search of `auditor`: an unfinished one was inconclusive, whatever it scored."""
    return row["detector"] == "auditor" and bool(row["evidence"]) and not row["error"] and row.get("said_kind") not in (
        "source_specific", "all_to_all")  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Rescore and write; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detect.rescore", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("rows", type=Path, nargs="+", metavar="FILE.jsonl")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.jsonl", help="rows are added to it")
    args = parser.parse_args(argv)
    if missing := [path for path in args.rows if not path.is_file()]:
        tell(f"{missing[0]} is not there")
        return 2
    for row in (row for path in args.rows for row in read_rows(path) if rescorable(row)):
        again = rescored(row)
        if again is None:
            tell(f"to be measured: {row['model']}, {row['images']} images, seed {row['seed']}, {row['profile']}")
        else:
            append_row(args.out, again)
    return 0


if __name__ == "__main__":
    sys.exit(main())
