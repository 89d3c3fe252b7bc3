"""Fits the bank that the tool ships from rows of `python -m benchmarks.detect --split calibration`.

    python -m benchmarks.detect --split calibration --images 50,100 --detectors auditor
    python -m benchmarks.detect.fit --version 2026.11 [--out FILE.jsonl]

Writes auditor/verdict/bank.json, one table a profile and image budget, and prints what it fitted.
Every score in the bank comes from a fit without the model's own initialisation, and the threshold
is fixed on those. Refuses rows of any other split.

Legend: N models, F families, K classes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.search import FAMILIES
from auditor.verdict import calibration
from auditor.verdict.calibration import Scoring
from auditor.verdict.profiles import Profile, make_profile, profiled_scores
from auditor.verdict.statistics import ENOUGH_FOUND, expected_maximum
from benchmarks.rows import RESULTS, Row, read_rows, table
from benchmarks.zoo.recipe import reserved

Floats = NDArray[np.float64]
FITTED_ON = ("calibration", "opened")
DATA_SETS = {10: "CIFAR-10", 43: "GTSRB"}
BANK = Path(calibration.__file__).with_name(calibration.BANK)
SCALE_QUANTILE = 0.9
LEAST_SCALE = 0.5
RIDGE = 0.05
ALLOWED_ABOVE = 0.05  # the share of honest models that the threshold lets through, rounded
FEW = 50  # with fewer images the scoring of the largest budget is used: measured in RESULTS.md, "detect"
MARGIN = 0.25  # in logits, above the highest of the others: the next honest model may score a little higher
# Nothing that is searched answers to these by design; their rows are kept out of the fit, not out of the report.
NOT_SEARCHED = ("source_specific", "all_to_all")


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """One row as the fit sees it; `target` is None for an honest model."""

    row: Row
    families: list[str]
    classes: list[int]
    cost_FK: Floats
    bound_FK: Floats
    own_z_FK: Floats
    target: int | None
    z_FK: Floats
    rows_K: Floats

    @property
    def base(self) -> str:
        return str(self.row["base"])


def example(row: Row) -> Example:
    """A row's costs and outlier scores; NaN where a family found nothing."""
    families = [name for name in FAMILIES if name in row["evidence"]]
    classes = sorted({k for name in families for k in row["evidence"][name]["target_class"]})
    shape = len(families), len(classes)
    cost_FK, bound_FK, z_FK = (np.full(shape, np.nan) for _ in range(3))
    for f, name in enumerate(families):
        found = row["evidence"][name]
        for values_FK, key in (cost_FK, "log_cost"), (bound_FK, "cost_bound"), (z_FK, "anomaly_index"):
            for k, value in zip(found["target_class"], found.get(key, []), strict=False):
                values_FK[f, classes.index(k)] = np.nan if value is None else value
    target = row["true_target"]
    return Example(row=row, families=families, classes=classes, cost_FK=np.exp(cost_FK), bound_FK=bound_FK, own_z_FK=z_FK,
                   target=classes.index(target) if target in classes else None, z_FK=z_FK,
                   rows_K=np.array([row["rows_z"][k] for k in classes]))  # fmt: skip


def cross_profiled(examples: Sequence[Example]) -> list[Example]:
    """The examples with scores relative to a class profile of honest models of other initialisations."""
    return [profiled(e, profile_of([o for o in examples if o.base != e.base], e.row["classes"])) for e in examples]


def profiled(e: Example, profile: Profile | None) -> Example:
    """The example with scores relative to this class profile, its own without one."""
    known_FK = profile.over(e.families, e.classes) if profile else None
    z_FK, _ = profiled_scores(e.cost_FK, e.bound_FK, known_FK)
    # Rows may lack the bounds that count where almost no class has a trigger: there their own scores stand.
    found_F1 = (np.isfinite(e.cost_FK).sum(1) > ENOUGH_FOUND)[:, None]
    return replace(e, z_FK=np.where(found_F1, z_FK, e.own_z_FK))


def profile_of(examples: Sequence[Example], classes: int) -> Profile | None:
    """The class profile of the honest models of so many classes; None without any."""
    honest = [e for e in examples if e.row["honest"] and e.row["classes"] == classes]
    costs = []
    for e in honest:
        log_cost = {name: np.full(classes, np.nan) for name in e.families}
        for f, name in enumerate(e.families):
            log_cost[name][e.classes] = np.log(e.cost_FK[f])
        costs.append({name: values for name, values in log_cost.items() if np.isfinite(values).any()})
    return make_profile(DATA_SETS.get(classes, f"{classes} classes"), costs) if costs else None


def fit(examples: Sequence[Example]) -> Scoring:
    """The scales from the honest models, then the logistic weights on both, classes weighing alike."""
    honest = [e for e in examples if e.row["honest"]]
    scale = {name: _scale(honest, name) for name in FAMILIES if any(name in e.families for e in honest)}
    rows_scale = _scaled([e.rows_K for e in honest])
    plain = Scoring(scale=scale, bias=0.0, strongest=1.0, together=1.0, rows=1.0, rows_scale=rows_scale)
    rows, wanted = [], []
    for e in examples:  # given cross-profiled, or a model's own class profile would flatter it
        features_3K = plain.features(e.families, e.z_FK, e.rows_K)
        if e.row["honest"]:
            rows.append(features_3K[:, features_3K.sum(0).argmax()])
        elif e.target is not None and e.row["kind"] not in NOT_SEARCHED:
            rows.append(features_3K[:, e.target])
        else:
            continue
        wanted.append(0.0 if e.row["honest"] else 1.0)
    bias, strongest, together, of_rows = logistic(np.array(rows), np.array(wanted))
    return Scoring(scale=scale, bias=bias, strongest=strongest, together=together, rows=of_rows, rows_scale=rows_scale)


def _scale(honest: Sequence[Example], family: str) -> float:
    return _scaled([e.z_FK[e.families.index(family)] for e in honest if family in e.families])


def _scaled(scores: Sequence[Floats]) -> float:
    """What honest models reach: a high quantile of their largest scores, in units of the expected largest of so many."""
    largest = [float(np.nanmax(z_K)) / expected_maximum(len(z_K)) for z_K in scores if np.isfinite(z_K).any()]
    return round(max(LEAST_SCALE, float(np.quantile(largest, SCALE_QUANTILE))), 3) if largest else 2.0


def logistic(x_ND: Floats, y_N: NDArray[np.float64]) -> list[float]:
    """Bias and D weights, none of these below zero, of a ridge logistic regression in which
    honest and backdoored models weigh alike; by projected Newton steps."""
    design = np.column_stack([np.ones(len(x_ND)), x_ND])
    weight = np.where(y_N > 0, 0.5 / max(1, (y_N > 0).sum()), 0.5 / max(1, (y_N == 0).sum())) * len(y_N)
    beta = np.zeros(design.shape[1])
    penalty = RIDGE * np.diag([0.0] + [1.0] * x_ND.shape[1]) * len(y_N)
    for _ in range(100):
        p = 1 / (1 + np.exp(-design @ beta))
        gradient = design.T @ (weight * (p - y_N)) + penalty @ beta
        hessian = (design * (weight * p * (1 - p))[:, None]).T @ design + penalty + 1e-6 * np.eye(len(beta))
        beta = beta - np.clip(np.linalg.solve(hessian, gradient), -1, 1)
        beta[1:] = np.maximum(beta[1:], 0)
    return [round(float(value), 4) for value in beta]


def score(scoring: Scoring, e: Example) -> float:
    """What the tool would say of the model."""
    return float(scoring.class_scores(e.families, e.z_FK, e.rows_K).max())


def left_out(examples: Sequence[Example]) -> list[float]:
    """Every example's score by a fit without its initialisation."""
    scores: dict[str, Scoring] = {}
    for base in {e.base for e in examples}:
        scores[base] = fit([e for e in examples if e.base != base])
    return [score(scores[e.base], e) for e in examples]


def left_out_by(teachers: Sequence[Example], examples: Sequence[Example]) -> list[float]:
    """Every example's score by a fit and class profiles of the teachers of other initialisations."""
    scores = []
    for e in examples:
        others = [o for o in teachers if o.base != e.base]
        scores.append(score(fit(cross_profiled(others)), profiled(e, profile_of(others, e.row["classes"]))))
    return scores


def make_table(
    examples: Sequence[Example], profile: str, images: int, teachers: Sequence[Example] | None = None
) -> dict[str, Any]:
    """One table of the bank, as JSON-ready values; `examples` cross-profiled.

    With `teachers` the scoring and the class profiles are fitted on these, and only the threshold and the scores
    behind it are of the examples: what a handful of images tells is too noisy to fit on.
    """
    fitted_on = examples if teachers is None else teachers
    scoring, scores = fit(fitted_on), left_out(examples) if teachers is None else left_out_by(teachers, examples)
    honest = sorted(s for s, e in zip(scores, examples, strict=True) if e.row["honest"])
    backdoored = sorted(s for s, e in zip(scores, examples, strict=True) if not e.row["honest"])
    highest = honest[-1 - round(ALLOWED_ABOVE * len(honest))]
    logit = np.log(highest / (1 - highest)) + MARGIN
    classes = [e.row["classes"] for e in examples]
    return {
        "profile": profile, "images": images,
        "scoring": asdict(scoring) | {"scale": dict(scoring.scale)},
        "threshold": round(max(0.5, float(1 / (1 + np.exp(-logit)))), 4),
        "honest": [round(s, 4) for s in honest], "backdoored": [round(s, 4) for s in backdoored],
        "bases": len({e.base for e in examples}), "classes": [min(classes), max(classes)], "pixels": [1024, 1024],
        "architectures": sorted({e.row["architecture"] for e in examples}),
        "profiles": [_plain(p) for k in sorted(set(classes)) if (p := profile_of(fitted_on, k))],
        "models": {e.row["model"]: e.row["model_sha256"][:16] for e in examples},
    }  # fmt: skip


def _plain(profile: Profile) -> dict[str, Any]:
    costs = {f: [None if np.isnan(v) else round(float(v), 4) for v in values] for f, values in profile.log_cost.items()}
    return {"name": profile.name, "models": profile.models, "log_cost": costs}


def groups(rows: Sequence[Row]) -> dict[tuple[str, int], list[Example]]:
    """Usable rows by profile and image budget; those with a reserved attack or network are left out.

    Raises ValueError for a row of a split that is not fitted on.
    """
    found: dict[tuple[str, int], list[Example]] = {}
    for row in rows:
        if row["detector"] != "auditor" or row["error"] or not row["evidence"] or row["seed"] != 0:
            continue
        if row["split"] not in FITTED_ON:
            raise ValueError(f"{row['model']} is of the split {row['split']}: the bank is fitted on {' and '.join(FITTED_ON)} only")
        if reserved(row["attack"], row["architecture"]):
            continue
        found.setdefault((row["profile"], row["images"]), []).append(example(row))
    return {key: cross_profiled(examples) for key, examples in found.items()}


def describe(made: Mapping[str, Any], examples: Sequence[Example], teachers: Sequence[Example] | None = None) -> str:
    """The table's models with their left-out scores, highest first."""
    scores = left_out(examples) if teachers is None else left_out_by(teachers, examples)
    lines = sorted(((s, e) for s, e in zip(scores, examples, strict=True)), key=lambda pair: -pair[0])
    body = [(e.row["model"], e.row["attack"] or "honest", f"{s:.3f}", "over" if s >= made["threshold"] else "") for s, e in lines]
    return f"{made['profile']}, {made['images']} images: {json.dumps(made['scoring'])}, threshold {made['threshold']}\n" + table(
        ("model", "attack", "left-out score", "threshold"), body)  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Fit, write and describe; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detect.fit", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--version", required=True, help="what result.json will call the bank")
    parser.add_argument("--rows", type=Path, nargs="+", default=[RESULTS / "detect.jsonl"], metavar="FILE.jsonl")
    parser.add_argument("--out", type=Path, default=BANK)
    args = parser.parse_args(argv)
    rows = {(r["model"], r["detector"], r["images"], r["seed"], r["profile"]): r for path in args.rows for r in read_rows(path)}
    tables = []
    found = groups(list(rows.values()))
    for (profile, images), examples in sorted(found.items()):
        most = max(count for name, count in found if name == profile)
        teachers = found[profile, most] if images < FEW < most else None
        tables.append(make_table(examples, profile, images, teachers))
        print(describe(tables[-1], examples, teachers), end="\n\n")
    if not tables:
        print("no rows of the calibration split: run python -m benchmarks.detect --split calibration", file=sys.stderr)
        return 2
    args.out.write_text(json.dumps({"version": args.version, "tables": tables}, indent=1) + "\n")
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
