"""Warping triggers: every image bent by one smooth flow (WaNet)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditor.search.strength import eased

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# The flow is measured on a grid of its own, so that the same control grid costs the same whatever
# the images' size.
MEASURED_SIDE = 32


@dataclass(frozen=True, kw_only=True)
class Warp:
    """Each pixel fetched from elsewhere; the cost is the root mean square distance, in pixels.

    The flow is a control grid of `grid` x `grid` displacements, each at most `largest` pixels
    along either side, and bicubic between them, as WaNet's is: its published strength 0.5 moves
    pixels by a third of one. The attacker's own grid need not be met: a network that answers to one
    warp answers to others as small. Toward an honest class warps of several pixels seldom suffice.
    Source: Nguyen and Tran, WaNet, ICLR 2021.
    """

    learning_rate: float = 0.1
    initial_multiplier: float = 0.3
    initial_deviation: float = 0.3
    grid: int = 4
    largest: float = 8.0
    pace: float = 1.0
    name: str = "warp"

    def start(self, arms: int, shape: tuple[int, int, int], generator: torch.Generator) -> dict[str, Tensor]:
        import torch

        drawn = torch.randn(arms, 2, self.grid, self.grid, generator=generator)
        return {"displacement": self.initial_deviation * drawn}

    def start_from(self, perturbation_CHW: Tensor) -> dict[str, Tensor]:
        """Nothing: a change of brightness says nothing of a displacement."""
        return {}

    def constrain(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"displacement": raw["displacement"].clamp(-self.largest, self.largest)}

    def cost(self, parameters: Mapping[str, Tensor]) -> Tensor:
        return self._power(parameters).sqrt()

    def penalty(self, parameters: Mapping[str, Tensor]) -> Tensor:
        return (self._power(parameters) + 1e-8).sqrt()

    def scale(self, parameters: Mapping[str, Tensor], strength: Tensor) -> dict[str, Tensor]:
        displacement = parameters["displacement"] * eased(strength)[:, None, None, None]
        return self.constrain({"displacement": displacement})

    def stamp(self, parameters: Mapping[str, Tensor], images_MBCHW: Tensor) -> Tensor:
        from auditor.stamps import stamp_warp

        return stamp_warp(parameters, images_MBCHW)

    def _power(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The mean squared distance (M,), in squared pixels."""
        from auditor.stamps import dense_flow

        flow = dense_flow(parameters["displacement"], MEASURED_SIDE, MEASURED_SIDE)
        power: Tensor = flow.square().sum(1).mean((1, 2))
        return power
