"""Whether an ONNX file says what the suspect says, measured in onnxruntime.

Legend: N batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auditor.domain import Rate
from auditor.errors import OutputError, UsageError, printable
from auditor.exporting.onnx_file import INPUT, OUTPUT
from auditor.metrics import accuracy
from auditor.suspect import Suspect

ONNX_TOLERANCE = 1e-3
# Rounding in float32 grows with the logits: beyond this size the tolerance does, too (1e-5 of the largest).
_ORDINARY_LOGIT = 100.0
_BATCH_SIZES = (1, 7, 32)
_ORT_ERRORS_ONLY = 3


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far an ONNX file's answers are from the suspect's.

    `max_abs_logit_difference` is infinite when a logit is not finite; `largest_logit` is the
    suspect's largest in absolute value.
    """

    max_abs_logit_difference: float
    argmax_agreement: Rate
    largest_logit: float = 0.0

    @property
    def tolerance(self) -> float:
        """The logit difference allowed: `ONNX_TOLERANCE`, and more for logits beyond the ordinary."""
        return ONNX_TOLERANCE * max(1.0, self.largest_logit / _ORDINARY_LOGIT)

    @property
    def holds(self) -> bool:
        """Every class the same and no logit further off than `tolerance`."""
        agrees = self.argmax_agreement.hits == self.argmax_agreement.total > 0
        return agrees and self.max_abs_logit_difference <= self.tolerance


def onnx_parity(suspect: Suspect, path: Path, images_NCHW: Tensor, *, embed_preprocessing: bool = False) -> Parity:
    """Compare the file in onnxruntime with the suspect, on images in [0, 1], in batches of 1, 7, 32, 32...

    Raises UsageError without images, and OutputError when the file does not run or answers in
    another shape. On CUDA both sides round alike only while TF32 is off.
    """
    if len(images_NCHW) == 0:
        raise UsageError("ONNX parity needs at least one image.", "Give clean images with --clean.")
    expected_NK = suspect.logits(images_NCHW).numpy()
    try:
        session = _session(path, suspect.device)
        found_NK = np.concatenate([
            session.run([OUTPUT], {INPUT: _as_input(suspect, batch, embed_preprocessing)})[0]
            for batch in _uneven_batches(images_NCHW)
        ])  # fmt: skip
    except Exception as error:  # onnxruntime's errors share no base class.
        raise OutputError(
            f"{printable(path)} does not run in onnxruntime: {printable(error)}.", "Report this; use the safetensors."
        ) from error
    if found_NK.shape != expected_NK.shape:
        raise OutputError(
            f"{printable(path)} answers in shape {found_NK.shape}, the network in {expected_NK.shape}.",
            "Report this; use the safetensors.",
        )
    return _compare(found_NK, expected_NK)


def _as_input(suspect: Suspect, images_NCHW: Tensor, embed_preprocessing: bool) -> NDArray[np.float32]:
    images_NCHW = images_NCHW.to(suspect.device, torch.float32)
    given = images_NCHW if embed_preprocessing else suspect.normalize(images_NCHW)
    array: NDArray[np.float32] = given.detach().cpu().contiguous().numpy()
    return array


def _uneven_batches(images_NCHW: Tensor) -> Iterator[Tensor]:
    """All images in batches of 1, 7, 32, 32...: one image, and a last batch of any size, must work too."""
    start = 0
    for size in itertools.chain(_BATCH_SIZES, itertools.repeat(_BATCH_SIZES[-1])):
        if start >= len(images_NCHW):
            return
        yield images_NCHW[start : start + size]
        start += size


def _session(path: Path, device: torch.device) -> Any:
    """An onnxruntime session that says nothing, on CUDA only where the suspect is."""
    import onnxruntime  # type: ignore[import-untyped]

    onnxruntime.set_default_logger_severity(_ORT_ERRORS_ONLY)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ORT_ERRORS_ONLY
    options.intra_op_num_threads = torch.get_num_threads()
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        index = torch.cuda.current_device() if device.index is None else device.index
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": index, "use_tf32": 0}))
    return onnxruntime.InferenceSession(str(path), options, providers=providers)


def _compare(found_NK: NDArray[np.float32], expected_NK: NDArray[np.float32]) -> Parity:
    agreement = accuracy(found_NK.argmax(1), expected_NK.argmax(1))
    if not (np.isfinite(found_NK).all() and np.isfinite(expected_NK).all()):
        return Parity(max_abs_logit_difference=math.inf, argmax_agreement=agreement)
    return Parity(
        max_abs_logit_difference=float(np.abs(found_NK.astype(np.float64) - expected_NK).max()),
        argmax_agreement=agreement,
        largest_logit=float(np.abs(expected_NK).max()),
    )
