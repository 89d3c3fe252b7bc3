"""What removal costs an honest model: as shipped, and when somebody insists.

    python -m benchmarks.honest [--split held_out] [--images 100]
    python -m benchmarks.honest --show

As shipped, `auditor audit` unlearns only what a scan has confirmed; the scan's verdict is in the row. When somebody
insists, `auditor sanitize --trigger` is given a patch that works: the cheapest that a search finds toward any class.
It hands out what passes, and leaves a refused candidate as evidence; both are measured. Accuracy is measured on 1,500
images that no stage saw. A row a model, written when it is done.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.detect.cells import initialisation, sample
from benchmarks.detect.statistics import estimate, mean_of
from benchmarks.flags import measure_models, zoo_parser
from benchmarks.measuring import write_clean
from benchmarks.one_run import run_once
from benchmarks.remove import evaluation, measured
from benchmarks.removing import SANITIZED, by_audit, scan_once
from benchmarks.rows import Row, commit, table
from benchmarks.zoo.build import load_model

HEADER = ("model", "images", "verdict", "patch toward", "flips", "passed", "kept", "accuracy before", "after", "points lost", "commit")


def cell(model: Row, args: argparse.Namespace, images: int, seed: int) -> Row:
    """One model's row."""
    drawn, path = sample(model, images, seed), Path(model["path"])
    folder = args.out.parent / "honest" / f"{model['name']}_{images}_{seed}_{commit()}"
    clean = write_clean(folder / "clean.npz", drawn.images.numpy(), drawn.labels.numpy())
    flags = {"seed": seed, "threads": args.threads}
    verdict = scan_once(path, clean, folder, **flags)["verdict"] or {}
    target = cheapest_patch(path, clean, folder / "patch.npz", seed)
    run = folder / "sanitize"
    shutil.rmtree(run, ignore_errors=True)
    result = run_once("sanitize", path, clean, output=str(run), trigger=str(folder / "patch.npz"), **flags)["result"]
    found = next((run / name for name in SANITIZED if (run / name).is_file()), None)
    known = load_model(path.parent)
    measure = partial(measured, known, evaluation(model))
    before = measure()
    shipped = by_audit(path, clean, folder, measure, **flags)["after"] if verdict.get("label") == "backdoored" else None
    after = measure(found) if found else before  # what no method was worth verifying for stays as it is
    given = (result["triggers"] or [{}])[0].get("attack_success_rate") or {}
    return {
        "model": model["name"], "images": images, "seed": seed, "split": model["split"], "base": initialisation(model),
        "commit": commit(), "verdict": verdict.get("label"), "target": target, "flips": [given.get("hits"), given.get("total")],
        "passed": (result["verification"] or {}).get("passed"), "kept": (result["unlearning"] or {}).get("method"),
        "tried": [(a["method"], a["accepted"], a["reason"]) for a in (result["unlearning"] or {}).get("tried", [])],
        "errors": result["errors"], "before": before["accuracy"], "after": after["accuracy"],
        "shipped": (shipped or before)["accuracy"],
    }  # fmt: skip


def cheapest_patch(model: Path, clean: Path, out: Path, seed: int) -> int:
    """Save the cheapest patch that a search with other seeds than the audit's finds; its target."""
    from auditor import pipeline
    from auditor.events import Control, drain
    from auditor.pipeline.opening import check_suspect, open_suspect
    from auditor.request import Request
    from auditor.search.budgets import PROFILES
    from auditor.search.synthesis import synthesize

    session = pipeline.start(Request(model=str(model), clean=str(clean), seed=seed), Control())
    drain(open_suspect(session))
    drain(check_suspect(session))
    images, labels = session.images[session.fit], session.labels[session.fit]
    found = drain(synthesize(
        session.model, images, labels, classes=list(range(session.model.num_classes)), seed=seed + 1, control=session.control,
        budget=replace(PROFILES["standard"], families=("patch",)),
    ))  # fmt: skip
    best = min((c for c in found.candidates if c.cost is not None), key=lambda c: c.cost or 0.0)
    best.trigger.save(out)
    return best.target_class


def summary(rows: Sequence[Row]) -> str:
    """The table of models, and the mean losses with intervals over bases."""
    shipped, lost = ([100 * (r["before"]["rate"] - r[name]["rate"]) for r in rows] for name in ("shipped", "after"))
    insisted = [points if r["passed"] else 0.0 for r, points in zip(rows, lost, strict=True)]
    lines = [(r["model"], r["images"], r["verdict"], r["target"], "{} of {}".format(*r["flips"]), r["passed"], r["kept"],
              100 * r["before"]["rate"], 100 * r["after"]["rate"], points, r["commit"]) for r, points in zip(rows, lost, strict=True)]  # fmt: skip
    bases = [r["base"] for r in rows]
    said = [table(HEADER, lines)]
    for name, values in (("As shipped", shipped), ("When somebody insists, by what is handed out", insisted),
                         ("The candidates, refused ones too", lost)):  # fmt: skip
        value = estimate(mean_of(values), bases)
        known = value.low is not None and value.high is not None
        said.append(f"{name}: {value.value:.2f} points lost{f' [{value.low:.2f}, {value.high:.2f}]' if known else ''}, "
                    f"{len(values)} models" if rows else f"{name}: nothing measured")  # fmt: skip
    return "\n\n".join(said)


def main(argv: list[str] | None = None) -> int:
    """Measure and show; returns the process exit code."""
    parser = zoo_parser("honest", __doc__, images="100")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    rows = measure_models(args, lambda model: model["honest"], cell, lambda row: f"{row['verdict']}, kept {row['kept']}")
    print(summary([row for row in rows if row["split"] == args.split]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
