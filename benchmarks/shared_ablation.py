"""What the SAU-style shared search buys, over the models of `.zoo/`.

    python -m benchmarks.shared_ablation [--only PATTERN] [--seeds 0,1] [--profile quick] [--no-additive]

For each all-to-one backdoor: the rank of the true class in the histogram of shared labels with the
twin, and with the suspect as its own twin (an ordinary adversarial search), against a random order; and the
additive family's cost toward the true class over the median of the others, started from the shared
perturbation or not. For honest models: the sorted shares, whose mean is HONEST_SHARES in
auditor/search/shared.py. Images: cifar10_test[:400].
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auditor.events import Control, drain
from auditor.search import FAMILIES
from auditor.search.budgets import PROFILES, Budget
from auditor.search.shared import SharedSearch, shared_search
from auditor.search.synthesis import Candidate, synthesize
from auditor.suspect import Meter, Suspect
from auditor.unlearn.twin import make_twin
from benchmarks.measuring import stratified
from benchmarks.rows import RESULTS, ROOT, Row, append_row, commit, latest, read_rows, table
from benchmarks.shared_zoo import CLEAN_IMAGES, seeds
from benchmarks.zoo.build import load_model, manifest
from benchmarks.zoo.data import load_images

ADDITIVE = {"additive": FAMILIES["additive"]}
HEADER = ("model", "seed", "target", "rank with twin", "rank without", "random", "twin disagrees",
          "images passed", "cost ratio from shared", "cost ratio from noise", "commit")  # fmt: skip


def rank(histogram: Sequence[int] | np.ndarray[Any, Any], target: int) -> float:
    """The place of a class, 1 for the most frequent; ties share the mean of their places."""
    counts = np.asarray(histogram)
    above, equal = (counts > counts[target]).sum(), (counts == counts[target]).sum()
    return float(1 + above + (equal - 1) / 2)


def shares(histogram: Sequence[int] | np.ndarray[Any, Any]) -> list[float]:
    """The shares of a histogram, largest first; zeros when it is empty."""
    counts = np.sort(np.asarray(histogram, dtype=np.float64))[::-1]
    return [float(value) for value in counts / max(1.0, counts.sum())]


def cost_ratio(costs: Sequence[float | None], target: int) -> float | None:
    """A class's cost over the median of the other classes'; those without one count as infinite.

    None when the class has no cost, or the median is infinite.
    """
    values = np.array([np.inf if cost is None else cost for cost in costs])
    median = float(np.median(np.delete(values, target)))
    if not np.isfinite(values[target]) or not np.isfinite(median) or median == 0:
        return None
    return float(values[target] / median)


def honest_shares(rows: Sequence[Row]) -> list[float]:
    """The mean over models of the sorted shares of each (its seeds first averaged); [] without honest models.

    As many shares as the model of fewest classes has.
    """
    models: dict[str, list[list[float]]] = {}
    for row in rows:
        if row["honest"]:
            models.setdefault(row["model"], []).append(shares(row["with_twin"]["histogram"]))
    means = [np.mean(found, axis=0) for found in models.values()]
    fewest = min((len(mean) for mean in means), default=0)
    return [round(float(value), 3) for value in np.mean([mean[:fewest] for mean in means], axis=0)] if means else []


def search_shared(suspect: Suspect, twin: Suspect, images: Tensor, labels: Tensor, seed: int) -> tuple[SharedSearch, Row]:
    """One shared search, and what it cost."""
    before, began = _passed(suspect.meter), time.perf_counter()
    generator = torch.Generator().manual_seed(seed)
    found = drain(shared_search(suspect, twin, images, labels, generator=generator, control=Control()))
    return found, {"histogram": found.histogram.tolist(), "images_passed": _passed(suspect.meter) - before,
                   "seconds": time.perf_counter() - began}  # fmt: skip


def _passed(meter: Meter) -> int:
    return meter.forward_images + meter.backward_images


def additive_costs(
    suspect: Suspect, images: Tensor, labels: Tensor, *, budget: Budget, seed: int, shared: SharedSearch | None
) -> list[float | None]:
    """The additive family's cost toward each class, in class order."""
    candidates: list[Candidate] = drain(synthesize(
        suspect, images, labels, classes=range(suspect.num_classes), budget=budget, seed=seed, control=Control(),
        shared=shared, families=ADDITIVE,
    )).candidates  # fmt: skip
    return [c.cost for c in sorted(candidates, key=lambda c: c.target_class)]


def measure(meta: Row, *, images: int, seed: int, budget: Budget, additive: bool, threads: int) -> Row:
    """Everything about one model: both shared searches, and with `additive` both syntheses."""
    torch.set_num_threads(threads)
    pool = load_images("cifar10_test", CLEAN_IMAGES)
    index = torch.from_numpy(stratified(pool.labels.numpy(), images, seed))
    x, y = pool.images[index].float() / 255, pool.labels[index]
    suspect = Suspect(load_model(Path(meta["path"]).parent).net, num_classes=len(meta["class_names"]),
                      input_shape=(3, *x.shape[2:]), mean=tuple(meta["normalization"]["mean"]),
                      std=tuple(meta["normalization"]["std"]))  # fmt: skip
    twin = make_twin(suspect, x, y, seed=seed)
    shared, with_twin = search_shared(suspect, twin.suspect, x, y, seed)
    _, without = search_shared(suspect, suspect.clone(), x, y, seed)
    row = {"model": meta["name"], "honest": meta["honest"], "kind": meta["kind"], "target": meta["target"],
           "disagreement": twin.disagreement, "with_twin": with_twin, "without_twin": without, "commit": commit()}  # fmt: skip
    if additive:
        for name, begin in (("costs_from_shared", shared), ("costs_from_noise", None)):
            row[name] = additive_costs(suspect, x, y, budget=budget, seed=seed, shared=begin)
    return row


def line(row: Row) -> tuple[Any, ...]:
    """A backdoored model's row under HEADER."""
    target = row["target"]
    ratios = [cost_ratio(row[k], target) if k in row else None for k in ("costs_from_shared", "costs_from_noise")]
    histogram = row["with_twin"]["histogram"]
    return (row["model"], row["seed"], target, f"{rank(histogram, target):g}",
            f"{rank(row['without_twin']['histogram'], target):g}", f"{(len(histogram) + 1) / 2:g}",
            f"{row['disagreement']:.0%}", row["with_twin"]["images_passed"], *ratios, row["commit"])  # fmt: skip


def chosen(rows: Sequence[Row], **asked: Any) -> list[Row]:
    """The rows of one setting, one for each model and seed: the last, but one with additive costs before one without."""
    fitting = [row for row in rows if all(row.get(name) == value for name, value in asked.items())]
    return list(latest(sorted(fitting, key=lambda row: bool(row["additive"])), ("model", "seed")).values())


def show(rows: Sequence[Row]) -> str:
    """The table of backdoored models with its means, and the honest models' shares."""
    attacked = [row for row in rows if not row["honest"]]
    parts = [table(HEADER, [line(row) for row in attacked])]
    if attacked:
        means = [np.mean([rank(r[k]["histogram"], r["target"]) for r in attacked]) for k in ("with_twin", "without_twin")]
        parts.append(f"Mean rank of the true class over {len(attacked)} rows: {means[0]:.2f} with the twin, {means[1]:.2f} "
                     "with the suspect as its own twin.")  # fmt: skip
    honest = [row for row in rows if row["honest"]]
    if honest:
        parts.append(table(("honest model", "seed", "sorted shares"), [
            (r["model"], r["seed"], " ".join(f"{s:.2f}" for s in shares(r["with_twin"]["histogram"]))) for r in honest]))  # fmt: skip
        parts.append(f"HONEST_SHARES = {tuple(honest_shares(honest))}  # {len({r['model'] for r in honest})} models")
    return "\n\n".join(parts)


def main(argv: list[str] | None = None) -> int:
    """Measure and show; returns the process exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shared_ablation", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--zoo", type=Path, default=ROOT / ".zoo", help="folder that benchmarks.zoo wrote")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="shell pattern of model names")
    parser.add_argument("--images", type=int, default=26, help="work images (default 26: what detection searches on of 50)")
    parser.add_argument("--seeds", type=seeds, default="0", help="comma-separated")
    parser.add_argument("--profile", choices=sorted(PROFILES), default="quick", help="budget of the additive family")
    parser.add_argument("--steps", type=int, help="steps of the additive family, in place of the profile's")
    parser.add_argument("--no-additive", dest="additive", action="store_false", help="only the shared searches: seconds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--show", action="store_true", help="measure nothing: the table of what is done")
    parser.add_argument("--again", action="store_true", help="measure again what is done")
    parser.add_argument("--out", type=Path, default=RESULTS / "shared_ablation.jsonl", metavar="FILE.jsonl")
    args = parser.parse_args(argv)
    budget = PROFILES[args.profile] if args.steps is None else replace(PROFILES[args.profile], steps=args.steps, refine_steps=0)
    models = [m for m in manifest(args.zoo)
              if fnmatch.fnmatch(m["name"], args.only) and (m["honest"] or m["kind"] == "all_to_one")]  # fmt: skip
    if not models:
        print(f"no model in {args.zoo} matches: build some with python -m benchmarks.zoo build", file=sys.stderr)
        return 2
    setting = {"images": args.images, "profile": args.profile, "steps": budget.steps}
    for seed in () if args.show else args.seeds:
        for meta in models:
            additive = args.additive and not meta["honest"]
            done = [row for row in chosen(read_rows(args.out), **setting, model=meta["name"], seed=seed)
                    if row["additive"] >= additive]  # fmt: skip
            if args.again or not done:
                row = measure(meta, images=args.images, seed=seed, budget=budget, additive=additive, threads=args.threads)
                append_row(args.out, row | setting | {"seed": seed, "additive": additive})
                print(f"{meta['name']}, seed {seed}: done", file=sys.stderr, flush=True)
    print(f"{args.images} images, {args.profile} budget of {budget.steps} steps\n")
    print(show(chosen(read_rows(args.out), **setting)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
