"""Warping triggers: their cost by hand, and a network that answers to a shifted line."""

from __future__ import annotations

import math

import pytest
import torch
from one_family import search_one_family
from planted import CLASSES, SIDE, TARGET, PlantedNet, planted_images
from torch import Tensor

from auditor.search.synthesis import Candidate
from auditor.search.warp import Warp
from auditor.triggers import MAX_SHIFT

LINE = slice(11, SIDE)  # rows below the blocks that tell the classes


class LineNet(PlantedNet):
    """The honest planted network, but a line in the middle that moves right tells it TARGET."""

    def __init__(self, strength: float) -> None:
        super().__init__(0.0)
        self.strength = strength

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = super().forward(images)
        moved = (images[:, :, LINE, 9] - images[:, :, LINE, 7]).mean((1, 2))
        answer = torch.nn.functional.leaky_relu(moved, 0.1)
        return logits + self.strength * answer[:, None] * torch.eye(CLASSES)[TARGET]


def searched(strength: float) -> list[Candidate]:
    images, _ = planted_images()
    images[:, :, LINE, 7:9] = 0.9
    return search_one_family(LineNet(strength), "warp", images)


def test_a_shift_that_a_network_answers_to_is_found() -> None:
    found = searched(20.0)
    cost = [candidate.cost or math.inf for candidate in found]
    assert cost[TARGET] < 1 and 3 * cost[TARGET] < min(cost[:TARGET] + cost[TARGET + 1 :])
    # Then what it fetches at the bottom comes from the left, that is, the line moves right.
    across = found[TARGET].trigger.parameters["displacement"][0]
    assert -1.5 < across[3, 1:3].mean() < -0.5


def test_the_honest_twin_has_no_such_class() -> None:
    assert min(candidate.cost or math.inf for candidate in searched(0.0)) > 0.9


def test_cost_is_the_root_mean_square_distance() -> None:
    even = torch.tensor([0.3, 0.4]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    assert Warp().cost({"displacement": even}).item() == pytest.approx(0.5)
    assert Warp().penalty({"displacement": even}).item() == pytest.approx(0.5, rel=1e-5)
    # Given no warp on the left and one pixel down on the right, with two points a side the flow rises evenly: 1/3.
    rising = torch.zeros(1, 2, 2, 2)
    rising[0, 1, :, 1] = 1
    flow = torch.nn.functional.interpolate(rising, (32, 32), mode="bicubic", align_corners=True)
    expected = math.sqrt(float(flow[0, 1].square().mean()))
    assert Warp().cost({"displacement": rising}).item() == pytest.approx(expected)
    assert expected == pytest.approx(math.sqrt(1 / 3), rel=0.15)


@pytest.mark.parametrize(("strength", "factor"), [(0.25, 0.25), (1, 1), (1.75, 1.25), (2.5, 1.5), (4, 2)])
def test_a_warp_beyond_strength_one_grows_at_a_third_of_the_pace(strength: float, factor: float) -> None:
    displacement = torch.full((1, 2, 4, 4), 0.4)
    scaled = Warp().scale({"displacement": displacement}, torch.tensor([strength]))["displacement"]
    torch.testing.assert_close(scaled, factor * displacement)


def test_displacements_stay_within_what_a_trigger_file_may_hold() -> None:
    assert Warp().largest == MAX_SHIFT
    far = Warp().constrain({"displacement": torch.tensor([-100.0, 100.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)})
    assert far["displacement"].unique().tolist() == [-8, 8]
    assert Warp().start(3, (1, 28, 28), torch.Generator().manual_seed(0))["displacement"].shape == (3, 2, 4, 4)
    assert Warp().start_from(torch.rand(3, 8, 8)) == {}
