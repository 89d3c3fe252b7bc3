"""A suspect as one ONNX file that takes any batch and says nothing about the machine that wrote it.

Legend: N batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from auditor.errors import OutputError, printable
from auditor.exporting.hushing import hushed
from auditor.exporting.metadata import clean_metadata
from auditor.files import write_bytes
from auditor.suspect import Suspect

INPUT, OUTPUT = "input", "logits"
# torch.export takes a batch of 0 or 1 for a constant, so the example has more.
_EXAMPLE_IMAGES = 2


class _WithPreprocessing(nn.Module):
    """The network behind its normalisation: takes images in [0, 1]."""

    mean_C11: Tensor
    std_C11: Tensor

    def __init__(self, module: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("mean_C11", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std_C11", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, images_NCHW: Tensor) -> Tensor:
        logits_NK: Tensor = self.module((images_NCHW - self.mean_C11) / self.std_C11)
        return logits_NK


def export_onnx(
    suspect: Suspect, path: Path, *, metadata: Mapping[str, str], embed_preprocessing: bool = False
) -> None:
    """Write the network as one ONNX file: `input` (N, C, H, W) float32 to `logits` (N, K), any N.

    The input is normalised as the suspect's module takes it, or in [0, 1] with
    `embed_preprocessing`; the file's metadata say which, beside `metadata`. The suspect is left
    as it is, and nothing is printed. Raises OutputError when the network cannot be expressed in
    ONNX or the file cannot be written.
    """
    module = copy.deepcopy(suspect.module).cpu().float().eval()
    if embed_preprocessing:
        module = _WithPreprocessing(module, suspect.mean, suspect.std).eval()
    model = _translate(module, torch.zeros(_EXAMPLE_IMAGES, *suspect.input_shape))
    _forget_origin(model)
    for key, value in clean_metadata({**metadata, **_input_contract(suspect, embed_preprocessing)}).items():
        model.metadata_props.add(key=key, value=value)
    write_bytes(path, _checked(model))


def _translate(module: nn.Module, example_NCHW: Tensor) -> Any:
    """The network as an ONNX ModelProto whose batch axis is open. Raises OutputError."""
    try:
        with hushed(), torch.no_grad():
            program = torch.onnx.export(
                module, (example_NCHW,), input_names=[INPUT], output_names=[OUTPUT],
                dynamic_shapes=({0: "batch"},), dynamo=True, verbose=False,
            )  # fmt: skip
            if program is None:
                raise RuntimeError("the exporter returned nothing")
            return program.model_proto
    except Exception as error:  # The exporter raises nearly any type, and runs the network's own code.
        raise _cannot_express(_first_line(error)) from error


def _forget_origin(message: Any) -> None:
    """Remove what the exporter notes about each node: it names files and folders of this machine."""
    for field, value in message.ListFields():
        if field.name in ("metadata_props", "doc_string"):
            message.ClearField(field.name)
        elif hasattr(value, "ListFields"):
            _forget_origin(value)
        elif field.message_type is not None:
            for item in value:
                _forget_origin(item)


def _checked(model: Any) -> bytes:
    """The model's bytes, once onnx.checker accepts them. Raises OutputError."""
    import onnx

    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise _cannot_express("its weights do not fit into one file")
    _check_batch(model)
    try:
        content: bytes = model.SerializeToString(deterministic=True)
        onnx.checker.check_model(content, full_check=True)
    except Exception as error:  # protobuf's size limit, the checker and shape inference share no base class.
        raise _cannot_express(_first_line(error)) from error
    return content


def _check_batch(model: Any) -> None:
    """Raises OutputError when the network answers for a number of images that it does not take as given."""
    given, answered = ([*value.type.tensor_type.shape.dim] for value in (model.graph.input[0], model.graph.output[0]))
    if not given[0].dim_param or len(answered) != 2 or answered[0].HasField("dim_value"):
        raise _cannot_express("it does not answer with one row of logits for each image")


def _cannot_express(why: str) -> OutputError:
    return OutputError(
        f"The network cannot be written as ONNX: {printable(why)}.", "Its weights can still be written as safetensors."
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0].rstrip('.')}"


def _input_contract(suspect: Suspect, embed_preprocessing: bool) -> dict[str, str]:
    """What to feed the file, for whoever receives it alone."""
    given = "images in [0, 1], NCHW" if embed_preprocessing else "(images in [0, 1] - mean) / std, NCHW"
    mean, std = (", ".join(f"{value:.6g}" for value in values) for values in (suspect.mean, suspect.std))
    return {"auditor.input": given, "auditor.mean": mean, "auditor.std": std}
