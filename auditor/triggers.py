"""Triggers as parameters, and how each family stamps them on images.

A `Trigger` is what a search synthesizes, what `evidence/trigger_<i>.npz` stores and what
`--trigger` reads back. Stamping is batched over M triggers, so the solver can push every
candidate through the network in one forward pass.

Legend: M triggers, N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auditor.errors import InputError

Stamp = Callable[[Mapping[str, Tensor], Tensor], Tensor]
ENERGY_SHARE = 0.9


def stamp_patch(parameters: Mapping[str, Tensor], images_MNCHW: Tensor) -> Tensor:
    """Replace part of each image: (1 - mask) x + mask pattern.

    `mask` (M, H, W) in [0, 1] and `pattern` (M, C, H, W) in [0, 1].
    Source: Wang et al., Neural Cleanse, IEEE S&P 2019.
    """
    mask = parameters["mask"][:, None, None]
    return images_MNCHW + mask * (parameters["pattern"][:, None] - images_MNCHW)


def stamp_additive(parameters: Mapping[str, Tensor], images_MNCHW: Tensor) -> Tensor:
    """Add one perturbation to every image, `delta` (M, C, H, W), and clip to [0, 1]."""
    return (images_MNCHW + parameters["delta"][:, None]).clamp(0, 1)


STAMPS: dict[str, Stamp] = {"patch": stamp_patch, "additive": stamp_additive}


@dataclass(frozen=True, kw_only=True, eq=False)
class Trigger:
    """One trigger toward `target_class`; `parameters` are arrays without the leading M.

    `source_classes` is empty when images of every class are affected.
    """

    family: str
    target_class: int
    parameters: dict[str, NDArray[np.float32]]
    source_classes: list[int] = field(default_factory=list)

    def stamp(self, images_NCHW: Tensor) -> Tensor:
        """The images (N, C, H, W) in [0, 1] with this trigger on them."""
        tensors = {k: torch.from_numpy(v).to(images_NCHW.device)[None] for k, v in self.parameters.items()}
        return STAMPS[self.family](tensors, images_NCHW[None])[0]

    def support(self, images_NCHW: Tensor) -> NDArray[np.bool_]:
        """The pixels (H, W) the trigger acts on: the smallest set that holds 90 % of its energy.

        Energy is the mask for a patch, and the mean change over `images` for other families.
        """
        if self.family == "patch":
            energy = self.parameters["mask"]
        else:
            energy = (self.stamp(images_NCHW) - images_NCHW).abs().mean((0, 1)).cpu().numpy()
        return smallest_support(energy)

    def save(self, path: Path) -> None:
        """Write the .npz that `load` and `--trigger` read; arrays only, nothing pickled."""
        np.savez_compressed(
            path, family=np.array(self.family), target_class=np.array(self.target_class),
            source_classes=np.array(self.source_classes, dtype=np.int64),
            **{f"parameter_{k}": v for k, v in self.parameters.items()},
        )  # type: ignore[arg-type]  # fmt: skip

    @staticmethod
    def load(path: Path) -> Trigger:
        """Read a trigger file. Raises InputError when it is not one."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                found = {key: stored[key] for key in stored.files}
            family = str(found["family"])
            if family not in STAMPS:
                raise InputError(f"{path}: unknown trigger family {family!r}", f"Known: {', '.join(STAMPS)}.")
            return Trigger(
                family=family, target_class=int(found["target_class"]),
                source_classes=[int(c) for c in found["source_classes"]],
                parameters={k[10:]: v.astype(np.float32) for k, v in found.items() if k.startswith("parameter_")},
            )  # fmt: skip
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise InputError(f"{path} is not a trigger file: {error}", "Give an evidence/trigger_<i>.npz.") from error


def smallest_support(energy_HW: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The smallest set of pixels that holds 90 % of the energy, as a boolean (H, W)."""
    flat = np.abs(energy_HW).ravel()
    order = np.argsort(-flat, kind="stable")
    reached = np.cumsum(flat[order]) >= ENERGY_SHARE * flat.sum()
    support = np.zeros(flat.shape, dtype=bool)
    support[order[: int(np.argmax(reached)) + 1]] = flat.sum() > 0
    return support.reshape(energy_HW.shape)
