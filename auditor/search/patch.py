"""Patch triggers: a few pixels replaced by a pattern (BadNets, TrojanNN and their like)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Patch:
    """x' = (1 - m) x + m p; the cost is the mask's L1 norm as a share of the image.

    Source: Wang et al., Neural Cleanse, IEEE S&P 2019; the total-variation term favours
    connected masks. Masks begin half open everywhere and close: begun nearly shut, the search
    misses small triggers whose place it has not met.
    """

    learning_rate: float = 0.3
    initial_multiplier: float = 1.0
    initial_mask: float = 0.0
    total_variation: float = 0.1
    pace: float = 4 / 3
    name: str = "patch"

    def start(self, arms: int, shape: tuple[int, int, int], generator: torch.Generator) -> dict[str, Tensor]:
        import torch

        channels, height, width = shape
        mask = self.initial_mask + 0.5 * torch.randn(arms, height, width, generator=generator)
        return {"mask": mask, "pattern": torch.randn(arms, channels, height, width, generator=generator)}

    def start_from(self, perturbation_CHW: Tensor) -> dict[str, Tensor]:
        """Nothing: a mask begun at the spread-out shared perturbation ended dearer than one begun
        everywhere (benchmarks/RESULTS.md, "shared")."""
        return {}

    def constrain(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"mask": raw["mask"].sigmoid(), "pattern": raw["pattern"].sigmoid()}

    def cost(self, parameters: Mapping[str, Tensor]) -> Tensor:
        return parameters["mask"].mean((1, 2))

    def penalty(self, parameters: Mapping[str, Tensor]) -> Tensor:
        mask = parameters["mask"]
        rough = (mask[:, 1:] - mask[:, :-1]).abs().mean((1, 2)) + (mask[:, :, 1:] - mask[:, :, :-1]).abs().mean((1, 2))
        return 10 * (mask.mean((1, 2)) + self.total_variation * rough)

    def scale(self, parameters: Mapping[str, Tensor], strength: Tensor) -> dict[str, Tensor]:
        import torch

        mask, strength = parameters["mask"], strength[:, None, None]
        stacked = 1 - (1 - mask).pow(strength)  # beyond 1: the same patch laid on several times
        return {"mask": torch.where(strength > 1, stacked, mask * strength), "pattern": parameters["pattern"]}

    def stamp(self, parameters: Mapping[str, Tensor], images_MBCHW: Tensor) -> Tensor:
        from auditor.stamps import stamp_patch

        return stamp_patch(parameters, images_MBCHW)
