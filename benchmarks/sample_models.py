"""The samples, measured on fresh images with the true trigger, before and after an audit.

    python -m benchmarks.sample_models [--run runs/demo] [--count 1000] [--seed 100]

Without --run only `suspect.pt` and `honest.pt` are measured. Every model answers as ONNX, in onnxruntime.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np

from auditor.errors import AuditorError
from auditor.plain import to_plain
from benchmarks.measuring import Trial, export_suspect, normalization_of, read_run, sanitized_onnx
from benchmarks.rows import RESULTS, ROOT, Row, append_row, commit, latest, rate_cell, read_rows, table

SAMPLES = ROOT / "samples"
MEAN = STD = [0.5, 0.5, 0.5]
FIRST_FREE_SEED = 4
KEY = ("model", "count", "seed", "audited")
HEADER = ("model", "fresh images", "seed", "accuracy", "true-trigger ASR", "audited", "commit")


def signs(samples: Path = SAMPLES) -> ModuleType:
    """The samples' `signs` module: `render`, `stamp`, `TARGET_CLASS`, as `samples/build.py` uses them."""
    spec = importlib.util.spec_from_file_location("sample_signs", samples / "signs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fresh(count: int, seed: int) -> Trial:
    """Freshly rendered images, clean and with the true trigger; labels are true in both.

    Raises ValueError for a seed that made the samples themselves.
    """
    if seed < FIRST_FREE_SEED:
        raise ValueError(f"seeds below {FIRST_FREE_SEED} made the training, clean and measured images: take another")
    module = signs()
    images_NHWC, labels_N = module.render(count, seed)
    clean, triggered = (
        np.ascontiguousarray(part.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)
        for part in (images_NHWC, module.stamp(images_NHWC))
    )
    return Trial(clean=clean, triggered=triggered, labels=labels_N, target=module.TARGET_CLASS)


def measure_checkpoint(name: str, trial: Trial) -> Row:
    """A sample's checkpoint, exported as it is."""
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / "model.onnx"
        export_suspect(SAMPLES / name, onnx, clean=str(SAMPLES / "clean"), threads=1)
        return {"model": name, "audited": None, **to_plain(trial.measure(onnx, MEAN, STD))}


def measure_run(run: Path, trial: Trial) -> Row:
    """What a run folder's audit left, through the normalisation that its result names.

    Raises FileNotFoundError when it left no model.
    """
    result, onnx = read_run(run), sanitized_onnx(run)
    if onnx is None:
        raise FileNotFoundError(f"{run} holds no sanitized.onnx and no rejected candidate")
    mean, std = normalization_of(result)
    passed = result.verification is not None and result.verification.passed
    return {"model": f"{onnx.relative_to(run).as_posix()} of {run.name}", "audited": "passed" if passed else "not removed",
            **to_plain(trial.measure(onnx, mean, std))}  # fmt: skip


def show(rows: list[Row]) -> str:
    """The rows as Markdown."""
    return table(HEADER, [
        (r["model"], r["count"], r["seed"], rate_cell(r["accuracy"]), rate_cell(r["attack_success_rate"]),
         r["audited"], r["commit"]) for r in rows
    ])  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Measure and show; returns the process exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sample_models", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--run", type=Path, metavar="RUN", help="run folder of an audit of samples/suspect.pt")
    parser.add_argument("--count", type=int, default=1000, metavar="N", help="fresh images (default 1000)")
    parser.add_argument("--seed", type=int, default=100, help="seed of the fresh images (default 100)")
    parser.add_argument("--again", action="store_true", help="measure the checkpoints again, too")
    parser.add_argument("--show", action="store_true", help="measure nothing: the table of what is done")
    parser.add_argument("--out", type=Path, default=RESULTS / "samples.jsonl", metavar="FILE.jsonl")
    args = parser.parse_args(argv)
    asked = {"count": args.count, "seed": args.seed}
    if args.show:
        print(show(list(latest(read_rows(args.out), KEY).values())))
        return 0
    try:
        trial = fresh(args.count, args.seed)
        done = latest(read_rows(args.out), KEY)
        for name in ("suspect.pt", "honest.pt"):
            if args.again or (name, *asked.values(), None) not in done:
                append_row(args.out, measure_checkpoint(name, trial) | asked | {"commit": commit()})
        if args.run is not None:  # a run folder may have changed since: always measured
            append_row(args.out, measure_run(args.run, trial) | asked | {"commit": commit()})
    except (AuditorError, OSError, ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 2
    print(show(list(latest(read_rows(args.out), KEY).values())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
