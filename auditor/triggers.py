"""Triggers as parameters, and what each family's parameters may hold.

A `Trigger` is what a search synthesizes, what `evidence/trigger_<i>.npz` stores and what
`--trigger` reads back. Stamps are batched over M triggers, so the solver can push every
candidate through the network in one forward pass.

Legend: M triggers, N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auditor.errors import InputError, printable
from auditor.npz import read_arrays
from auditor.stamps import Stamp, stamp_additive, stamp_feature, stamp_lowfreq, stamp_patch, stamp_warp

ENERGY_SHARE = 0.9
MAX_FILE_BYTES = 64 * 1024**2
MAX_SIDE = 4096
MAX_CLASS = 10**6
MAX_SHIFT = 8.0
MAX_WEIGHT = 8.0
_ROUNDING = 1e-3
_NEXT_STEP = "Give an evidence/trigger_<i>.npz of a run, or one written by Trigger.save."


STAMPS: dict[str, Stamp] = {
    "patch": stamp_patch,
    "additive": stamp_additive,
    "lowfreq": stamp_lowfreq,
    "warp": stamp_warp,
    "feature": stamp_feature,
}

# The least and the most of each axis a parameter may have. C, H and W are the images' own sides;
# U and V count cosines down and across; D is the two directions of a displacement, I and J the
# rows and columns of a control grid; F is a generator's hidden channels, K its kernels' side
# and O holds one number.
AXES: dict[str, tuple[int, int]] = {
    "C": (1, 3), "H": (1, MAX_SIDE), "W": (1, MAX_SIDE), "U": (1, 64), "V": (1, 64),
    "D": (2, 2), "I": (2, 64), "J": (2, 64), "F": (1, 64), "K": (3, 3), "O": (1, 1),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ParameterSpec:
    """What one array of a family may hold: its axes, each a letter of `AXES`, and the range of its values.

    Axes of one letter are equally long in all arrays of a trigger.
    """

    axes: str
    low: float
    high: float


PARAMETERS: dict[str, dict[str, ParameterSpec]] = {
    "patch": {"mask": ParameterSpec(axes="HW", low=0, high=1), "pattern": ParameterSpec(axes="CHW", low=0, high=1)},
    "additive": {"delta": ParameterSpec(axes="CHW", low=-1, high=1)},
    "lowfreq": {"coefficients": ParameterSpec(axes="CUV", low=-1, high=1)},
    "warp": {"displacement": ParameterSpec(axes="DIJ", low=-MAX_SHIFT, high=MAX_SHIFT)},
    "feature": {
        "first": ParameterSpec(axes="FCKK", low=-MAX_WEIGHT, high=MAX_WEIGHT),
        "bias": ParameterSpec(axes="F", low=-MAX_WEIGHT, high=MAX_WEIGHT),
        "second": ParameterSpec(axes="CFKK", low=-MAX_WEIGHT, high=MAX_WEIGHT),
        "strength": ParameterSpec(axes="O", low=0, high=1),
    },
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Trigger:
    """One trigger toward `target_class`; `parameters` are arrays without the leading M.

    `source_classes` is empty when images of every class are affected.
    """

    family: str
    target_class: int
    parameters: dict[str, NDArray[np.float32]]
    source_classes: list[int] = field(default_factory=list)

    def affects(self, labels_N: Tensor) -> Tensor:
        """Which images (N,) it is meant to flip: those of its source classes, but never of its target."""
        other = labels_N != self.target_class
        sources = torch.tensor(self.source_classes, device=labels_N.device)
        return other & torch.isin(labels_N, sources) if self.source_classes else other

    def stamp(self, images_NCHW: Tensor) -> Tensor:
        """The images (N, C, H, W) in [0, 1] with this trigger on them."""
        tensors = {k: torch.from_numpy(v).to(images_NCHW.device)[None] for k, v in self.parameters.items()}
        return STAMPS[self.family](tensors, images_NCHW[None])[0]

    def stamp_at(self, images_NCHW: Tensor, strength_N: Tensor) -> Tensor:
        """The images with this trigger at each image's own strength, 1 = as it is.

        Its change to an image is multiplied and clipped to [0, 1]; a warp moves pixels farther instead,
        since an image beyond the warped one is no warp of it.
        """
        factor = strength_N.to(images_NCHW).view(-1, 1, 1, 1)
        if self.family == "warp":
            flow = torch.from_numpy(self.parameters["displacement"]).to(images_NCHW.device) * factor
            return STAMPS["warp"]({"displacement": flow.clamp(-MAX_SHIFT, MAX_SHIFT)}, images_NCHW[:, None])[:, 0]
        return (images_NCHW + factor * (self.stamp(images_NCHW) - images_NCHW)).clamp(0, 1)

    def support(self, images_NCHW: Tensor) -> NDArray[np.bool_]:
        """The pixels (H, W) the trigger acts on: the smallest set that holds 90 % of its energy.

        Energy is the mask for a patch, and the mean change over `images` for other families. A mask of
        zeros and ones, as a known trigger has, is taken whole.
        """
        if self.family == "patch":
            energy = self.parameters["mask"]
            if np.isin(energy, (0, 1)).all():
                return energy > 0
        else:
            energy = (self.stamp(images_NCHW) - images_NCHW).abs().mean((0, 1)).cpu().numpy()
        return smallest_support(energy)

    def save(self, path: Path) -> None:
        """Write the .npz that `load` and `--trigger` read; arrays only, nothing pickled.

        Raises InputError when `load` would refuse the file.
        """
        _check(self.family, self.target_class, self.source_classes, self.parameters, str(path))
        arrays: dict[str, Any] = {f"parameter_{name}": value for name, value in self.parameters.items()}
        arrays["family"] = np.array(self.family)
        arrays["target_class"] = np.array(self.target_class)
        arrays["source_classes"] = np.array(self.source_classes, dtype=np.int64)
        np.savez_compressed(path, **arrays)

    @staticmethod
    def load(path: Path) -> Trigger:
        """Read a trigger file, which may come from anyone.

        Raises InputError when it is not one: objects, missing or misshapen arrays, values that
        are not finite or out of the family's range, more than 64 MiB.
        """
        found = read_arrays(path, max_bytes=MAX_FILE_BYTES)
        where = printable(path)
        family = _text(found, "family", where)
        targets = _classes(found, "target_class", where)
        if len(targets) != 1:
            raise InputError(f"{where}: target_class holds {len(targets)} values.", _NEXT_STEP)
        sources = _classes(found, "source_classes", where) if "source_classes" in found else []
        given = {key.removeprefix("parameter_"): v for key, v in found.items() if key.startswith("parameter_")}
        parameters = _check(family, targets[0], sources, given, where)
        return Trigger(family=family, target_class=targets[0], source_classes=sources, parameters=parameters)

    def check_fits(self, num_classes: int, input_shape: tuple[int, int, int]) -> None:
        """Raises InputError when the trigger is not one for a model of this shape (C, H, W)."""
        beyond = [label for label in (self.target_class, *self.source_classes) if label >= num_classes]
        if beyond:
            raise InputError(
                f"The trigger names class {beyond[0]}, but the model has {num_classes} classes.", _NEXT_STEP
            )
        sides = dict(zip("CHW", input_shape, strict=True))
        for name, spec in PARAMETERS[self.family].items():
            given = self.parameters[name].shape
            expected = tuple(sides.get(axis, side) for axis, side in zip(spec.axes, given, strict=True))
            if given != expected:
                raise InputError(
                    f"The trigger's {name} has shape {given}, but the model takes {expected}.",
                    "Give a trigger of the model's own input size.",
                )


def _check(
    family: str, target: int, sources: list[int], given: Mapping[str, NDArray[np.generic]], where: str
) -> dict[str, NDArray[np.float32]]:
    """The parameters as float32 within the family's ranges; InputError when they are not a trigger's."""
    if family not in PARAMETERS:
        raise InputError(f"{where}: unknown trigger family {printable(family)!r}.", f"Known: {', '.join(PARAMETERS)}.")
    wrong = next((label for label in (target, *sources) if not 0 <= label <= MAX_CLASS), None)
    if wrong is not None:
        raise InputError(f"{where}: {wrong} is not a class index.", _NEXT_STEP)
    specs = PARAMETERS[family]
    if set(given) != set(specs):
        names = ", ".join(printable(name, 40) for name in sorted(given)[:5]) or "nothing"
        raise InputError(f"{where}: a {family} trigger has {', '.join(specs)}, not {names}.", _NEXT_STEP)
    sides: dict[str, int] = {}
    return {name: _check_parameter(f"{where}: {name}", given[name], spec, sides) for name, spec in specs.items()}


def _check_parameter(
    where: str, value: NDArray[np.generic], spec: ParameterSpec, sides: dict[str, int]
) -> NDArray[np.float32]:
    """One array as float32, clipped to its range; `sides` collects the axes' lengths, which all arrays share."""
    if value.dtype.kind not in "uif" or value.ndim != len(spec.axes):
        raise InputError(f"{where} is {value.dtype} of shape {value.shape}, not numbers ({spec.axes}).", _NEXT_STEP)
    for axis, side in zip(spec.axes, value.shape, strict=True):
        least, most = AXES[axis]
        if not least <= side <= most or sides.setdefault(axis, side) != side:
            raise InputError(f"{where} has shape {value.shape}, which does not fit ({spec.axes}).", _NEXT_STEP)
    numbers = value.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise InputError(f"{where} holds NaN or infinite values.", _NEXT_STEP)
    if numbers.min() < spec.low - _ROUNDING or numbers.max() > spec.high + _ROUNDING:
        raise InputError(
            f"{where} runs from {numbers.min():.4g} to {numbers.max():.4g}, not within "
            f"[{spec.low:g}, {spec.high:g}].", "Give images and changes in [0, 1] units, displacements in pixels.",
        )  # fmt: skip
    return numbers.clip(spec.low, spec.high).astype(np.float32)


def _text(found: Mapping[str, NDArray[np.generic]], key: str, where: str) -> str:
    if key not in found or found[key].dtype.kind != "U" or found[key].size != 1:
        raise InputError(f"{where} is not a trigger file: it does not name its {key}.", _NEXT_STEP)
    return str(found[key].reshape(-1)[0])


def _classes(found: Mapping[str, NDArray[np.generic]], key: str, where: str) -> list[int]:
    if key not in found or found[key].dtype.kind not in "ui" or found[key].size > MAX_CLASS:
        # numpy writes an empty list of classes as floats.
        if key in found and found[key].size == 0:
            return []
        raise InputError(f"{where} is not a trigger file: {key} is missing or not whole numbers.", _NEXT_STEP)
    return [int(label) for label in found[key].reshape(-1)]


def smallest_support(energy_HW: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The smallest set of pixels that holds 90 % of the energy, as a boolean (H, W)."""
    flat = np.abs(energy_HW).ravel()
    order = np.argsort(-flat, kind="stable")
    reached = np.cumsum(flat[order]) >= ENERGY_SHARE * flat.sum()
    support = np.zeros(flat.shape, dtype=bool)
    support[order[: int(np.argmax(reached)) + 1]] = flat.sum() > 0
    return support.reshape(energy_HW.shape)
