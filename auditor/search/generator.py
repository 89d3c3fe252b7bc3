"""Input-dependent triggers: a small network draws each image's change (Input-aware, SSBA, BPP)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditor.search.strength import eased

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Feature:
    """x' = clip(x + s g(x)), g(x) of root mean square 1; the cost is s, in [0, 1] pixel units.

    g is two 3 x 3 convolutions with `hidden` channels between, so it can answer to edges and
    textures but does not know where in the image it is. As its output is brought to one size in
    every image, the cost is a parameter, and weights that grow cannot hide a change in it.
    Source: the generator of Nguyen and Tran, Input-aware dynamic backdoor attack, NeurIPS 2020,
    made small enough to be searched toward every class at once; the fixed size is ours.
    """

    learning_rate: float = 0.05
    initial_multiplier: float = 1.0
    initial_strength: float = 0.1
    hidden: int = 8
    pace: float = 1.0
    name: str = "feature"

    def start(self, arms: int, shape: tuple[int, int, int], generator: torch.Generator) -> dict[str, Tensor]:
        """Weights of unit gain, and the logarithm of `initial_strength`."""
        import torch

        def drawn(*sizes: int) -> Tensor:
            return torch.randn(arms, *sizes, generator=generator)

        channels = shape[0]
        return {
            "first": drawn(self.hidden, channels, 3, 3) / math.sqrt(9 * channels),
            "bias": 0.1 * drawn(self.hidden),
            "second": drawn(channels, self.hidden, 3, 3) / math.sqrt(9 * self.hidden),
            "strength": math.log(self.initial_strength) + 0.1 * drawn(1),
        }

    def start_from(self, perturbation_CHW: Tensor) -> dict[str, Tensor]:
        """Nothing: one perturbation for all images says nothing of what depends on them."""
        return {}

    def constrain(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        from auditor.triggers import MAX_WEIGHT

        weights = {name: value.clamp(-MAX_WEIGHT, MAX_WEIGHT) for name, value in raw.items() if name != "strength"}
        return {**weights, "strength": raw["strength"].clamp(max=0).exp()}

    def cost(self, parameters: Mapping[str, Tensor]) -> Tensor:
        return parameters["strength"][:, 0]

    def penalty(self, parameters: Mapping[str, Tensor]) -> Tensor:
        return 10 * parameters["strength"][:, 0]

    def scale(self, parameters: Mapping[str, Tensor], strength: Tensor) -> dict[str, Tensor]:
        return {**parameters, "strength": (parameters["strength"] * eased(strength)[:, None]).clamp(max=1)}

    def stamp(self, parameters: Mapping[str, Tensor], images_MBCHW: Tensor) -> Tensor:
        from auditor.stamps import stamp_feature

        return stamp_feature(parameters, images_MBCHW)
