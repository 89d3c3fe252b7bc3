"""What several benchmarks measure with: a stratified draw of images, an ONNX file's answers, its true ASR.

Legend: N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.domain import AuditResult, Rate
from auditor.metrics import accuracy, attack_success_rate

Labels = NDArray[np.int64]
Floats = NDArray[np.float32]
BATCH = 250
SANITIZED = ("sanitized.onnx", "evidence/candidate_sanitized.onnx")


def stratified(labels_N: Labels, count: int, seed: int) -> Labels:
    """Sorted indices of `count` images drawn without replacement, as evenly over the classes as they allow.

    Raises ValueError when `count` is not between 1 and N.
    """
    if not 1 <= count <= len(labels_N):
        raise ValueError(f"{count} images cannot be drawn from {len(labels_N)}")
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(len(labels_N))
    turn = np.empty(len(labels_N), dtype=np.int64)
    for label in np.unique(labels_N):
        of_class = shuffled[labels_N[shuffled] == label]
        turn[of_class] = np.arange(len(of_class))
    order = shuffled[np.argsort(turn[shuffled], kind="stable")]
    return np.sort(order[:count])


def write_clean(path: Path, images_NCHW: NDArray[np.uint8], labels_N: Labels) -> Path:
    """An .npz as users hand it over: `x` uint8 (N, H, W, C) and `y` (N,)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, x=np.ascontiguousarray(images_NCHW.transpose(0, 2, 3, 1)), y=labels_N)
    return path


def normalized(images_NCHW: Floats, mean: list[float], std: list[float]) -> Floats:
    """Images in [0, 1] as the exported network takes them."""
    mean_C11, std_C11 = (np.asarray(values, dtype=np.float32).reshape(-1, 1, 1) for values in (mean, std))
    return np.asarray((images_NCHW - mean_C11) / std_C11, dtype=np.float32)


def predict_onnx(path: Path, images_NCHW: Floats, mean: list[float], std: list[float], threads: int = 1) -> Labels:
    """Classes (N,) that an ONNX file gives images in [0, 1], by onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    inputs = normalized(images_NCHW, mean, std)
    parts = [session.run(None, {name: inputs[i : i + BATCH]})[0].argmax(1) for i in range(0, len(inputs), BATCH)]
    return np.concatenate(parts).astype(np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """Images that no part of an audit saw, (N, C, H, W) in [0, 1]: clean, and the same with the true trigger.

    `labels` (N,) are true in both; `target` is the true target class.
    """

    clean: Floats
    triggered: Floats
    labels: Labels
    target: int

    def measure(self, path: Path, mean: list[float], std: list[float], threads: int = 1) -> dict[str, Rate]:
        """`accuracy` on clean images, `attack_success_rate` on triggered ones of other classes."""
        said_clean = predict_onnx(path, self.clean, mean, std, threads)
        said_triggered = predict_onnx(path, self.triggered, mean, std, threads)
        return {
            "accuracy": accuracy(said_clean, self.labels),
            "attack_success_rate": attack_success_rate(said_triggered, self.labels, self.target),
        }


def export_suspect(model: Path, out: Path, **flags: Any) -> None:
    """Write a checkpoint as ONNX, as `auditor export` does, so that before and after run in the same engine.

    Raises RuntimeError with the tool's own message when it cannot.
    """
    from auditor.events import drain
    from auditor.library import stream
    from auditor.request import Request

    out.parent.mkdir(parents=True, exist_ok=True)
    result = drain(stream("export", Request(model=str(model), output=str(out), force=True, **flags)))
    if result.run.exit_code != 0:
        raise RuntimeError(result.errors[0].what if result.errors else f"export ended with {result.run.exit_code}")


def sanitized_onnx(run: Path) -> Path | None:
    """The model that a run folder holds: the one that passed, else the rejected candidate, else none."""
    return next((run / name for name in SANITIZED if (run / name).is_file()), None)


def read_run(run: Path) -> AuditResult:
    """The result of a run folder. Raises InputError when there is none to read."""
    from auditor.report.reading import read_result

    return read_result(run / "result.json").result


def normalization_of(result: AuditResult | Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """The (mean, std) that an audit used, from its result or result.json.

    Raises ValueError when the audit ended before it knew.
    """
    architecture = result["architecture"] if isinstance(result, Mapping) else result.architecture
    if architecture is None:
        raise ValueError("the audit ended before the architecture was known")
    found = architecture["normalization"] if isinstance(architecture, Mapping) else vars(architecture.normalization)
    return list(found["mean"]), list(found["std"])
