"""The five reporting models of the shared zoo, scanned and audited as a user would.

    python -m benchmarks.shared_zoo [--only NAME] [--images 50] [--profile standard] [--seeds 0,1,2]
    python -m benchmarks.shared_zoo --audit NAME [--images 50] [--profile standard] [--seeds 0]

Clean images are drawn from cifar10_test[:400] by seed; audits are measured on cifar10_test[400:].
Rows that are done are shown, not measured again, unless with --again. Nothing is tuned on these models.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from auditor.plain import to_plain
from benchmarks.measuring import Trial, export_suspect, normalization_of, sanitized_onnx, stratified, write_clean
from benchmarks.one_run import run_once
from benchmarks.rows import RESULTS, Row, append_row, commit, latest, rate_cell, read_rows, table
from benchmarks.zoo.data import SHARED, load_images

CLEAN_IMAGES = 400
KEY = ("verb", "model", "images", "seed", "profile")
RATES = ("accuracy", "attack_success_rate")
MIB = 1024**2
SCAN_HEADER = ("model", "images", "seed", "profile", "verdict", "target", "true target", "right", "score", "seconds",
               "forward", "backward", "MiB over libraries", "exit", "commit")  # fmt: skip
AUDIT_HEADER = ("model", "images", "seed", "profile", "passed", "method", "accuracy before", "accuracy after",
                "ASR before", "ASR after", "accuracy after, as trained", "ASR after, as trained", "seconds", "exit",
                "commit")  # fmt: skip


def shared_zoo(shared: Path = SHARED) -> ModuleType:
    """The shared folder's `zoo` module: `models()` and `stamp(model, images)`.

    Raises FileNotFoundError when the folder is not there.
    """
    path = shared / "zoo" / "zoo.py"
    if not path.is_file():
        raise FileNotFoundError("the shared folder with zoo/zoo.py is not beside the project")
    spec = importlib.util.spec_from_file_location("shared_zoo_models", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def clean_images(path: Path, count: int, seed: int) -> Path:
    """An .npz at `path` with `count` images of cifar10_test[:400], as many of each class as there can be."""
    pool = load_images("cifar10_test", CLEAN_IMAGES)
    index = stratified(pool.labels.numpy(), count, seed)
    return write_clean(path, pool.images.numpy()[index], pool.labels.numpy()[index])


def held_out(zoo: ModuleType, model: Row) -> Trial:
    """cifar10_test[400:], clean and with the model's true trigger."""
    images = load_images("cifar10_test").take(slice(CLEAN_IMAGES, None))
    clean = images.images.float() / 255
    with torch.no_grad():
        triggered = zoo.stamp(model, clean).clamp(0, 1)
    return Trial(clean=clean.numpy(), triggered=triggered.numpy(), labels=images.labels.numpy(), target=model["target"])


def is_right(verdict: dict[str, Any] | None, target: int | None) -> bool:
    """True when the verdict names exactly the true target, or finds no evidence in an honest model."""
    if verdict is None:
        return False
    if target is None:
        return bool(verdict["label"] == "no_evidence")
    return bool(verdict["label"] == "backdoored" and verdict["target_classes"] == [target])


def row_of(verb: str, model: Row, told: dict[str, Any], **asked: Any) -> Row:
    """What one run said and cost, beside the truth."""
    result = told["result"]
    verdict, cost = result["verdict"], result["cost"] or {}
    return {
        "verb": verb, "model": model["name"], **asked, "verdict": verdict["label"] if verdict else None,
        "target": verdict["target_classes"] if verdict else [], "true_target": model["target"],
        "right": is_right(verdict, model["target"]), "score": verdict["score"] if verdict else None,
        "seconds": told["seconds"], "stages": result["run"]["seconds"], "forward_images": cost.get("forward_images"),
        "backward_images": cost.get("backward_images"), "libraries_bytes": told["libraries_bytes"],
        "peak_bytes": told["peak_bytes"], "exit_code": result["run"]["exit_code"], "errors": result["errors"],
        "per_class": verdict["per_class"] if verdict else [], "threads": result["run"]["threads"],
        "device": result["run"]["device"], "torch": result["tool"]["torch"], "commit": commit(),
    }  # fmt: skip


def scan(model: Row, clean: Path, *, threads: int, **asked: Any) -> Row:
    """Scan one model in a fresh process."""
    told = run_once("scan", model["path"], clean, threads=threads, seed=asked["seed"], profile=asked["profile"])
    return row_of("scan", model, told, **asked)


def audit(model: Row, clean: Path, folder: Path, *, zoo: ModuleType, threads: int, **asked: Any) -> Row:
    """Audit one backdoored model into `folder`, and measure both models with the true trigger.

    Inputs are normalised as the audit inferred; `after_as_trained` as the model was trained, which is how
    its owner will feed the sanitized one.
    """
    run = folder / f"{model['name']}_{asked['profile']}_{asked['images']}_{asked['seed']}"
    told = run_once("audit", model["path"], clean, threads=threads, seed=asked["seed"], profile=asked["profile"],
                    output=str(run), force=True)  # fmt: skip
    result, found = told["result"], sanitized_onnx(run)
    verification, unlearning = result["verification"] or {}, result["unlearning"] or {}
    row = row_of("audit", model, told, **asked) | {
        "passed": verification.get("passed"), "method": unlearning.get("method"), "before": None, "after": None,
        "after_as_trained": None,
    }  # fmt: skip
    if found is None:
        return row
    mean, std = normalization_of(result)
    before = folder / f"{model['name']}_before.onnx"
    export_suspect(model["path"], before, clean=str(clean), threads=threads)
    trial = held_out(zoo, model)
    return row | {"before": to_plain(trial.measure(before, mean, std, threads)),
                  "after": to_plain(trial.measure(found, mean, std, threads)),
                  "after_as_trained": to_plain(trial.measure(found, list(zoo.MEAN), list(zoo.STD), threads))}  # fmt: skip


def scan_table(rows: list[Row]) -> str:
    """Rows of scans as Markdown."""
    return table(SCAN_HEADER, [
        (r["model"], r["images"], r["seed"], r["profile"], r["verdict"], r["target"], r["true_target"], r["right"],
         r["score"], f"{r['seconds']:.0f}", r["forward_images"], r["backward_images"],
         f"{(r['peak_bytes'] - r['libraries_bytes']) / MIB:.0f}", r["exit_code"], r["commit"])
        for r in rows if r["verb"] == "scan"
    ])  # fmt: skip


def audit_table(rows: list[Row]) -> str:
    """Rows of audits as Markdown."""
    def rate(row: Row, when: str, name: str) -> str:
        return rate_cell((row[when] or {}).get(name))

    return table(AUDIT_HEADER, [
        (r["model"], r["images"], r["seed"], r["profile"], r["passed"], r["method"],
         *(rate(r, when, name) for name in RATES for when in ("before", "after")),
         *(rate(r, "after_as_trained", name) for name in RATES), f"{r['seconds']:.0f}", r["exit_code"], r["commit"])
        for r in rows if r["verb"] == "audit"
    ])  # fmt: skip


def seeds(text: str) -> list[int]:
    """Comma-separated whole numbers. Raises ValueError for anything else, or a negative one."""
    found = [int(part) for part in text.split(",")]
    if min(found) < 0:
        raise ValueError("a seed is at least 0")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shared_zoo", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--only", metavar="NAME", help="scan this model alone")
    what.add_argument("--audit", metavar="NAME", help="audit this backdoored model, and measure the sanitized one")
    what.add_argument("--show", action="store_true", help="measure nothing: the tables of what is done")
    parser.add_argument("--images", type=int, default=50, metavar="N", help="clean images handed over (default 50)")
    parser.add_argument("--profile", choices=("quick", "standard", "deep"), default="standard")
    parser.add_argument("--seeds", type=seeds, default="0", help="comma-separated; a seed draws the images and seeds the run")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="measure again what is done")
    parser.add_argument("--out", type=Path, default=RESULTS / "shared_zoo.jsonl", metavar="FILE.jsonl")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Measure and show; returns the process exit code."""
    args = _parser().parse_args(argv)
    try:
        zoo = shared_zoo()
    except FileNotFoundError as error:
        print(f"{error}: these models cannot be measured here", file=sys.stderr)
        return 2
    models = [m for m in zoo.models() if (args.audit or args.only) in (None, m["name"])]
    if not models or (args.audit and models[0]["target"] is None):
        print(f"name one of {', '.join(m['name'] for m in zoo.models())}; --audit takes a backdoored one", file=sys.stderr)
        return 2
    for seed in () if args.show else args.seeds:
        for model in models:
            _measure(args, zoo, model, seed)
    rows = list(latest(read_rows(args.out), KEY).values())
    print("\n\n".join((scan_table(rows), audit_table(rows))))
    return 0


def _measure(args: argparse.Namespace, zoo: ModuleType, model: Row, seed: int) -> None:
    asked = {"images": args.images, "seed": seed, "profile": args.profile}
    verb = "audit" if args.audit else "scan"
    if not args.again and (verb, model["name"], *asked.values()) in latest(read_rows(args.out), KEY):
        return
    clean = clean_images(args.out.parent / f"clean_{args.images}_{seed}.npz", args.images, seed)
    if verb == "scan":
        row = scan(model, clean, threads=args.threads, **asked)
    else:
        row = audit(model, clean, args.out.parent / "audits", zoo=zoo, threads=args.threads, **asked)
    append_row(args.out, row)
    print(f"{row['verb']} {row['model']}, seed {seed}: {row['verdict']} {row['target']}, exit {row['exit_code']}, "
          f"{row['seconds']:.0f} s", file=sys.stderr, flush=True)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
