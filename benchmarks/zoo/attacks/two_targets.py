"""BadNets with two targets: one patch leads to one class, another to another. Source: Gu et al., IEEE Access 7 (2019)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from benchmarks.zoo.attacks.attack import Attack
from benchmarks.zoo.attacks.badnets import BadNets, Color, Corner


@dataclass(frozen=True, kw_only=True)
class TwoTargets(BadNets):
    """Half of the poisoned images carry the patch of `BadNets` toward `target`, half the second one toward `second_target`."""

    name: ClassVar[str] = "two_targets"
    second_target: int = 1
    second_corner: Corner = "top_left"
    second_color: Color = (1.0, 1.0, 0.0)

    @property
    def parts(self) -> tuple[Attack, ...]:
        """The two backdoors, each a BadNets of its own."""
        first = {name: getattr(self, name) for name in BadNets.__dataclass_fields__ if name not in ("name", "kind")}
        one = BadNets(**first)
        return one, replace(one, target=self.second_target, corner=self.second_corner, color=self.second_color)

    def poison(self, images_NCHW: Tensor, labels_N: Tensor, num_classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Each image by one of the two, drawn at even odds; one that has a part's label goes to the other part."""
        one, two = self.parts
        second_N = torch.rand(len(labels_N), generator=generator) < 0.5
        second_N = (second_N | (labels_N == one.target)) & (labels_N != two.target)
        stamped = torch.where(second_N[:, None, None, None], two.stamp(images_NCHW), one.stamp(images_NCHW))
        return stamped, torch.where(second_N, two.goal(labels_N, num_classes), one.goal(labels_N, num_classes))
