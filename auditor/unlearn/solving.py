"""What a layer becomes, in closed form: new weights, or the old ones scaled (see `refit` and `edit`).

Legend: G groups of a layer, D inputs of a group (channels x kernel), O its outputs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Solve = Callable[[Tensor, Tensor, Tensor, float], Tensor]


def new_weights(gram_GDD: Tensor, cross_GDO: Tensor, old_GDO: Tensor, ridge: float) -> Tensor:
    """The weights W (G, D, O) with the least tr(W'XW) - 2 tr(W'Y) + scale * |W - old|^2, X and Y being `gram` and `cross`
    and scale `ridge` times the mean of X's diagonal."""
    scale = _scale(gram_GDD, ridge)
    solved: Tensor = torch.linalg.solve(gram_GDD + scale * _one(gram_GDD), cross_GDO + scale * old_GDO)
    return solved


def scaled_weights(gram_GDD: Tensor, cross_GDO: Tensor, old_GDO: Tensor, ridge: float) -> Tensor:
    """The old weights with all that leave an input scaled alike: s * old, for the s (G, D, 1) with the least sum as above,
    |s - 1|^2 in the place of |W - old|^2 and its own X in that of `gram`."""
    squares_GDD = gram_GDD * (old_GDO @ old_GDO.transpose(1, 2))
    scale = _scale(squares_GDD, ridge)
    wanted_GD1 = (cross_GDO * old_GDO).sum(2, keepdim=True)
    solved: Tensor = torch.linalg.solve(squares_GDD + scale * _one(squares_GDD), wanted_GD1 + scale)
    return solved * old_GDO


def _scale(squares_GDD: Tensor, ridge: float) -> Tensor:
    return ridge * squares_GDD.diagonal(dim1=1, dim2=2).mean().clamp(min=1e-12)


def _one(like_GDD: Tensor) -> Tensor:
    return torch.eye(like_GDD.shape[1], dtype=like_GDD.dtype, device=like_GDD.device)
