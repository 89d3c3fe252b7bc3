"""Fits the bank that the tool ships from rows of `python -m benchmarks.detect --split calibration`.

    python -m benchmarks.detect --split calibration --images 50,100 --detectors auditor
    python -m benchmarks.detect.fit --version 2026.11 [--out FILE.jsonl]
    python -m benchmarks.detect.fit --version none --without feature --out /tmp/bank.json

Writes auditor/verdict/bank.json, one table a profile and image budget, and prints what it fitted; `--without` shows
what a trigger family is worth.
Every score in the bank comes from a fit without the model's own initialisation, and the threshold
is fixed on those. Refuses rows of any other split.

Legend: N models, D features, K classes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.search import FAMILIES
from auditor.verdict import calibration
from auditor.verdict.calibration import Scoring
from auditor.verdict.profiles import Profile
from auditor.verdict.statistics import expected_maximum
from benchmarks.detect.examples import Example, cross_profiled, example, profile_of, profiled
from benchmarks.detect.statistics import Floats, auc_of, estimate
from benchmarks.rows import RESULTS, Row, read_rows, table
from benchmarks.zoo.recipe import reserved

FITTED_ON = ("calibration", "opened")
BANK = Path(calibration.__file__).with_name(calibration.BANK)
SCALE_QUANTILE = 0.9
LEAST_SCALE = 0.5
RIDGE = 0.05
ALLOWED_ABOVE = 0.05  # the share of honest models that the threshold lets through, rounded
FEW = 50  # with fewer images the scoring of the largest budget is used: measured in RESULTS.md, "detect"
MARGIN = 0.25  # in logits, above the highest of the others: the next honest model may score a little higher
# Nothing that is searched answers to these by design; their rows are kept out of the fit, not out of the report.
NOT_SEARCHED = ("source_specific", "all_to_all")


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


def groups(rows: Sequence[Row], without: Sequence[str] = ()) -> dict[tuple[str, int], list[Example]]:
    """Usable rows by profile and image budget; those with a reserved attack or network are left out, and so is the
    evidence of the families `without` names.

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
        evidence = {name: of for name, of in row["evidence"].items() if name not in without}
        found.setdefault((row["profile"], row["images"]), []).append(example(row | {"evidence": evidence}))
    return {key: cross_profiled(examples) for key, examples in found.items()}


def describe(made: Mapping[str, Any], examples: Sequence[Example], teachers: Sequence[Example] | None = None) -> str:
    """The table's models with their left-out scores, highest first."""
    scores = left_out(examples) if teachers is None else left_out_by(teachers, examples)
    lines = sorted(((s, e) for s, e in zip(scores, examples, strict=True)), key=lambda pair: -pair[0])
    body = [(e.row["model"], e.row["attack"] or "honest", f"{s:.3f}", "over" if s >= made["threshold"] else "") for s, e in lines]
    head = f"{made['profile']}, {made['images']} images: {json.dumps(made['scoring'])}, threshold {made['threshold']}"
    return "\n".join([head, _told_apart(made, lines), table(("model", "attack", "left-out score", "threshold"), body)])


def _told_apart(made: Mapping[str, Any], lines: Sequence[tuple[float, Example]]) -> str:
    """In a sentence, how well the left-out scores separate, with and without what is not searched for."""
    honest = [s for s, e in lines if e.row["honest"]]
    searched = [s for s, e in lines if not e.row["honest"] and e.row["kind"] not in NOT_SEARCHED]
    over = [sum(s >= made["threshold"] for s in scores) for scores in (searched, honest)]
    auc = [estimate(auc_of(np.array([*honest, *bad]), [False] * len(honest) + [True] * len(bad)), [str(n) for n in range(len(honest) + len(bad))]).value
           for bad in (made["backdoored"], searched)]  # fmt: skip
    said = " and ".join("-" if value is None else f"{value:.3f}" for value in auc)
    return f"AUC of all and of those searched for {said}; over the threshold {over[0]} of {len(searched)}, and {over[1]} of {len(honest)} honest"


def main(argv: list[str] | None = None) -> int:
    """Fit, write and describe; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detect.fit", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--version", required=True, help="what result.json will call the bank")
    parser.add_argument("--rows", type=Path, nargs="+", default=[RESULTS / "detect.jsonl"], metavar="FILE.jsonl")
    parser.add_argument("--without", nargs="+", choices=list(FAMILIES), default=[], metavar="FAMILY", help="leave out its evidence")
    parser.add_argument("--out", type=Path, default=BANK)
    args = parser.parse_args(argv)
    rows = {(r["model"], r["detector"], r["images"], r["seed"], r["profile"]): r for path in args.rows for r in read_rows(path)}
    tables = []
    found = groups(list(rows.values()), args.without)
    for (profile, images), examples in sorted(found.items()):
        most = max(count for name, count in found if name == profile)
        teachers = found[profile, most] if 0 < images < FEW < most else None
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
