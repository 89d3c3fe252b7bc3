"""Additive triggers: one perturbation added to every image (Blended, SIG, LF and their like)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Additive:
    """x' = clip(x + d); the cost is the root mean square of d, in [0, 1] pixel units.

    Source: universal adversarial perturbations, Moosavi-Dezfooli et al., CVPR 2017.
    """

    learning_rate: float = 0.02
    initial_multiplier: float = 1.0
    initial_deviation: float = 0.02
    pace: float = 1.0
    name: str = "additive"

    def start(self, arms: int, shape: tuple[int, int, int], generator: torch.Generator) -> dict[str, Tensor]:
        import torch

        return {"delta": self.initial_deviation * torch.randn(arms, *shape, generator=generator)}

    def start_from(self, perturbation_CHW: Tensor) -> dict[str, Tensor]:
        return {"delta": 0.5 * perturbation_CHW}

    def constrain(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"delta": raw["delta"].clamp(-1, 1)}

    def cost(self, parameters: Mapping[str, Tensor]) -> Tensor:
        return parameters["delta"].square().mean((1, 2, 3)).sqrt()

    def penalty(self, parameters: Mapping[str, Tensor]) -> Tensor:
        return 10 * (parameters["delta"].square().mean((1, 2, 3)) + 1e-8).sqrt()

    def scale(self, parameters: Mapping[str, Tensor], strength: Tensor) -> dict[str, Tensor]:
        return {"delta": (parameters["delta"] * strength[:, None, None, None]).clamp(-1, 1)}

    def stamp(self, parameters: Mapping[str, Tensor], images_MBCHW: Tensor) -> Tensor:
        from auditor.stamps import stamp_additive

        return stamp_additive(parameters, images_MBCHW)
