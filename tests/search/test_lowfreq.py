"""Smooth additive triggers: their cosines by hand, and a network that answers to one wave."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from one_family import search_one_family
from planted import CLASSES, SIDE, TARGET, PlantedNet
from torch import Tensor

from auditor.search.lowfreq import LowFrequency
from auditor.stamps import cosines

WAVE = (1, 5)  # half a period down the image, two and a half across


class WaveNet(PlantedNet):
    """The honest planted network, but one wave in the red channel alone tells it TARGET."""

    def __init__(self, strength: float) -> None:
        super().__init__(0.0)
        self.strength = strength
        down, across = (cosines(1 + wave, SIDE)[wave] for wave in WAVE)
        self.register_buffer("wave", down[:, None] * across[None])

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = super().forward(images)
        redness = images[:, 0] - images[:, 1:].mean(1)
        share = torch.nn.functional.leaky_relu((redness * self.get_buffer("wave")).mean((1, 2)) - 0.01, 0.1)
        return logits + self.strength * share[:, None] * torch.eye(CLASSES)[TARGET]


def test_a_wave_that_a_network_answers_to_is_found() -> None:
    found = search_one_family(WaveNet(600.0), "lowfreq")
    cost = [candidate.cost or math.inf for candidate in found]
    assert 3 * cost[TARGET] < min(cost[:TARGET] + cost[TARGET + 1 :])
    power = np.square(found[TARGET].trigger.parameters["coefficients"][0])
    assert np.unravel_index(power.argmax(), power.shape) == WAVE and power[WAVE] > 0.8 * power.sum()


def test_the_honest_twin_has_no_such_class() -> None:
    cost = [candidate.cost or math.inf for candidate in search_one_family(WaveNet(0.0), "lowfreq")]
    assert 1.6 * min(cost) > float(np.median(cost))


def test_slow_cosines_by_hand() -> None:
    # (u + 1)(v + 1) <= 4: four along each side, and the slowest diagonal one; the constant if it is wanted.
    assert LowFrequency(bandwidth=4, constant=True).kept(4, 4).int().tolist() == [
        [1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0],
    ]  # fmt: skip
    kept = LowFrequency().kept(16, 16)
    assert int(kept.sum()) == 49 and not kept[0, 0] and kept[0, 15] and kept[3, 3]


def test_cost_is_the_root_mean_square_of_the_change() -> None:
    family = LowFrequency()
    coefficients = torch.zeros(1, 3, 4, 4)
    coefficients[0, 0, 0, 0], coefficients[0, 2, 1, 3] = 0.03, 0.04
    assert family.cost({"coefficients": coefficients}).item() == pytest.approx(0.05 / math.sqrt(3))
    grey = torch.full((1, 1, 3, 8, 10), 0.5)
    for shape in ((3, 8, 10), (3, 32, 32)):
        parameters = family.constrain(family.start(1, shape, torch.Generator().manual_seed(3)))
        grey = torch.full((1, 1, *shape), 0.5)
        change = (family.stamp(parameters, grey) - grey).square().mean().sqrt()
        assert family.cost(parameters).item() == pytest.approx(change.item(), rel=1e-4)


def test_only_slow_cosines_take_part() -> None:
    family = LowFrequency()
    raw = family.start(2, (3, 32, 32), torch.Generator().manual_seed(0))
    assert raw["coefficients"].shape == (2, 3, 16, 16)
    kept = family.kept(16, 16)
    assert (raw["coefficients"][:, :, ~kept] == 0).all() and (raw["coefficients"][:, :, kept] != 0).all()
    everywhere = family.constrain({"coefficients": torch.ones(1, 1, 16, 16)})["coefficients"]
    assert torch.equal(everywhere[0, 0], kept.float())


def test_starts_at_half_of_the_slow_part_of_a_perturbation() -> None:
    # Given a slow wave, one too fast to keep, and a constant.
    waves = cosines(16, 16)
    slow, fast = waves[1][:, None] * waves[6][None], waves[9][:, None] * waves[9][None]
    begun = LowFrequency().start_from((0.1 * slow + 0.2 * fast - 0.04)[None])["coefficients"]
    assert begun.shape == (1, 16, 16)
    assert begun[0, 1, 6].item() == pytest.approx(0.05, abs=1e-6)
    assert begun.abs().sum().item() == pytest.approx(0.05, abs=1e-4)
    tinted = LowFrequency(constant=True).start_from(torch.full((1, 16, 16), -0.04))["coefficients"]
    assert tinted[0, 0, 0].item() == pytest.approx(-0.02, abs=1e-6)


@pytest.mark.parametrize(("strength", "factor"), [(0.5, 0.5), (2.5, 1.5), (4, 2)])
def test_a_smooth_trigger_beyond_strength_one_grows_at_a_third_of_the_pace(strength: float, factor: float) -> None:
    scaled = LowFrequency().scale({"coefficients": torch.full((1, 1, 2, 2), 0.1)}, torch.tensor([strength]))
    torch.testing.assert_close(scaled["coefficients"], torch.full((1, 1, 2, 2), 0.1 * factor))


def test_an_image_of_one_pixel_has_no_slow_cosines() -> None:
    begun = LowFrequency().start(2, (1, 1, 1), torch.Generator().manual_seed(0))["coefficients"]
    assert begun.shape == (2, 1, 1, 1) and torch.isfinite(begun).all()
