"""Smooth additive triggers: one sum of slow cosines added to every image (SIG, LF, smooth Blended)."""

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
class LowFrequency:
    """x' = clip(x + IDCT(a)); the cost is the root mean square of the change, in [0, 1] pixel units.

    Only cosines (u, v) with (u + 1)(v + 1) <= `bandwidth` take part: slow in one direction at
    least, which smooth pictures are and stripes such as SIG's 6 periods a width (v = 12) too,
    while the perturbations that fool an honest network mostly are not. So the search pays as
    the additive one does, but has 49 numbers a channel to find where that has every pixel. The
    `constant` cosine is left out: it is the tint of sky or sea, which is cheap toward some classes
    of honest networks and part of few triggers.
    Source: the low-frequency view of triggers is Zeng et al.'s, ICCV 2021; the set of cosines is ours.
    """

    learning_rate: float = 0.004
    initial_multiplier: float = 1.0
    initial_deviation: float = 0.02
    bandwidth: int = 16
    constant: bool = False
    pace: float = 1.0
    name: str = "lowfreq"

    def start(self, arms: int, shape: tuple[int, int, int], generator: torch.Generator) -> dict[str, Tensor]:
        import torch

        channels, height, width = shape
        kept_UV = self.kept(min(self.bandwidth, height), min(self.bandwidth, width))
        drawn = torch.randn(arms, channels, *kept_UV.shape, generator=generator)
        return {"coefficients": self.initial_deviation / math.sqrt(max(1, int(kept_UV.sum()))) * drawn * kept_UV}

    def start_from(self, perturbation_CHW: Tensor) -> dict[str, Tensor]:
        """Half of the perturbation's own slow cosines."""
        import torch

        from auditor.stamps import cosines

        height, width = perturbation_CHW.shape[1:]
        kept_UV = self.kept(min(self.bandwidth, height), min(self.bandwidth, width))
        down_UH, across_VW = cosines(len(kept_UV), height), cosines(len(kept_UV[0]), width)
        mean_CUV = torch.einsum("chw,uh,vw->cuv", perturbation_CHW, down_UH, across_VW) / (height * width)
        return {"coefficients": 0.5 * mean_CUV * kept_UV}

    def constrain(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        coefficients = raw["coefficients"]
        return {"coefficients": (coefficients * self.kept(*coefficients.shape[-2:]).to(coefficients)).clamp(-1, 1)}

    def cost(self, parameters: Mapping[str, Tensor]) -> Tensor:
        return self._power(parameters).sqrt()

    def penalty(self, parameters: Mapping[str, Tensor]) -> Tensor:
        return 10 * (self._power(parameters) + 1e-8).sqrt()

    def scale(self, parameters: Mapping[str, Tensor], strength: Tensor) -> dict[str, Tensor]:
        return {"coefficients": (parameters["coefficients"] * eased(strength)[:, None, None, None]).clamp(-1, 1)}

    def stamp(self, parameters: Mapping[str, Tensor], images_MBCHW: Tensor) -> Tensor:
        from auditor.stamps import stamp_lowfreq

        return stamp_lowfreq(parameters, images_MBCHW)

    def kept(self, rows: int, columns: int) -> Tensor:
        """True for the cosines (U, V) that take part."""
        import torch

        kept = torch.arange(1, rows + 1)[:, None] * torch.arange(1, columns + 1)[None] <= self.bandwidth
        kept[0, 0] &= self.constant
        return kept

    def _power(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The mean square (M,) of the change: the waves are orthogonal and of mean square 1."""
        power: Tensor = parameters["coefficients"].square().sum((2, 3)).mean(1)
        return power
