"""Does TAR with a synthesized mask stand for TAR with the true one, and does it fall with unlearning?

    python -m benchmarks.tar [--split held_out] [--images 100]
    python -m benchmarks.tar --show

Over the zoo's patch-backdoored models that a scan finds by a patch. `heat`: one Grad-CAM heat-map an image, of the image
with the synthesized trigger, weighed in both masks. `own`: the image with each trigger, in that trigger's mask. The
correlation is pooled over images, its interval bootstrapped over models. After `refit` the same is measured of the
sanitized model, beside random masks of equal area. A row a model; images are those that no stage saw.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from auditor.attention import target_layer
from auditor.attention.gradcam import grad_cam
from auditor.attention.measuring import equal_area_masks
from auditor.attention.tar import tar
from auditor.suspect import Suspect
from auditor.triggers import Trigger
from benchmarks.detect.cells import initialisation, sample
from benchmarks.detect.statistics import Floats, Statistic, estimate, mean_of
from benchmarks.flags import measure_models, zoo_parser
from benchmarks.measuring import write_clean
from benchmarks.remove import evaluation
from benchmarks.removing import Alone, scan_once
from benchmarks.rows import Row, commit, table
from benchmarks.zoo.build import load_model

WEIGHED, CONTROLS = 64, 8
HEADER = ("model", "images", "TAR, synthesized mask", "true mask", "each its own image", "after refit", "random masks before", "after")


def measured(model: Row, args: argparse.Namespace, images: int, seed: int) -> Row:
    """One model's row; without values where no patch was found."""
    drawn, path = sample(model, images, seed), Path(model["path"])
    folder = args.out.parent / "remove" / f"{model['name']}_{images}_{seed}_{commit()}"
    clean = write_clean(folder / "clean.npz", drawn.images.numpy(), drawn.labels.numpy())
    flags: dict[str, Any] = {"seed": seed, "threads": args.threads}
    result = scan_once(path, clean, folder, **flags)
    row: Row = {"model": model["name"], "base": initialisation(model), "split": model["split"], "images": images, "seed": seed,
                "commit": commit()}  # fmt: skip
    found = [t for t in result["triggers"] if t["confirmed"] and t["family"] == "patch"]
    if not found:
        return row
    trigger = Trigger.load(folder / "scan" / found[0]["evidence"])
    alone = Alone(path, clean, folder, **flags)
    try:
        sanitized = alone.model("refit")
        return row | weigh(alone.session.model, sanitized, trigger, load_model(path.parent).attack, evaluation(model), seed)
    finally:
        alone.close()


def weigh(suspect: Suspect, sanitized: Suspect, trigger: Trigger, attack: Any, data: Any, seed: int) -> dict[str, list[float]]:
    """Energies of up to WEIGHED images of other classes than the target, for the classes that are predicted."""
    others = torch.where(data.labels != trigger.target_class)[0][:WEIGHED]
    images = data.images[others].float() / 255
    layer = target_layer(suspect)
    assert layer is not None  # every network of the zoo is convolutional
    true_mask = (attack.stamp(images) != images).any(1).any(0).numpy()
    mask = trigger.support(images)
    synthesized, true = trigger.stamp(images), attack.stamp(images)
    heat, own = (grad_cam(suspect, x, None, layer.name) for x in (synthesized, true))
    after = grad_cam(sanitized, synthesized, None, layer.name)
    elsewhere = equal_area_masks(mask, CONTROLS, np.random.default_rng(seed))
    energies = {
        "synthesized": tar(heat, mask).energy, "true": tar(heat, true_mask).energy, "own": tar(own, true_mask).energy,
        "after": tar(after, mask).energy, "random": np.mean([tar(heat, m).energy for m in elsewhere], axis=0),
        "random_after": np.mean([tar(after, m).energy for m in elsewhere], axis=0),
    }  # fmt: skip
    return {name: np.round(values, 4).tolist() for name, values in energies.items()}


def correlation(rows: Sequence[Row], first: str, second: str) -> Statistic:
    """Pearson's, pooled over the images of the models that a replicate holds, each weighing as often as it is drawn."""
    pairs = [_finite(row[first], row[second]) for row in rows]
    # Sums of x, y, xx, yy, xy and 1 over each model's images: weighted, they give the pooled correlation.
    sums_N6 = np.array([[x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum(), len(x)] for x, y in pairs])

    def statistic(weight_RN: Floats) -> Floats:
        sx, sy, sxx, syy, sxy, n = (weight_RN @ sums_N6).T
        spread = (n * sxx - sx**2) * (n * syy - sy**2)
        found: Floats = np.divide(n * sxy - sx * sy, np.sqrt(np.maximum(spread, 0)), out=np.full(len(n), np.nan), where=spread > 1e-12)
        return found

    return statistic


def _finite(first: Sequence[float], second: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = (np.asarray(values, dtype=np.float64) for values in (first, second))
    known = np.isfinite(x) & np.isfinite(y)
    return x[known], y[known]


def summary(rows: Sequence[Row]) -> str:
    """The table of models, the correlations and the change by unlearning, with intervals over bases."""
    found = [r for r in rows if "true" in r]
    lines = [(r["model"], len(r["true"]), *(float(np.nanmean(r[k])) for k in ("synthesized", "true", "own", "after", "random", "random_after")))
             for r in found]  # fmt: skip
    bases = [r["base"] for r in found]
    said = [table(HEADER, lines)]
    for name, other in ("one heat-map", "true"), ("each its own image", "own"):
        value = estimate(correlation(found, "synthesized", other), bases)
        said.append(f"Correlation with the true mask's TAR, {name}, {len(found)} models: {_interval(value.value, value.low, value.high)}")
    for name, before, after in ("TAR", "synthesized", "after"), ("its random-mask control", "random", "random_after"):
        fall = [float(np.nanmean(r[after]) - np.nanmean(r[before])) for r in found]
        value = estimate(mean_of(fall), bases)
        said.append(f"Change of {name} with refit: {_interval(value.value, value.low, value.high)}")
    return "\n\n".join(said)


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low is not None else "")


def main(argv: list[str] | None = None) -> int:
    """Measure and show; returns the process exit code."""
    parser = zoo_parser("tar", __doc__, images="100")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    rows = measure_models(args, lambda model: model["attack"] == "badnets", measured,
                          lambda row: "measured" if "true" in row else "no patch was found")  # fmt: skip
    print(summary(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
