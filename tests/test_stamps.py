"""What the stamps of smooth triggers do, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from auditor.stamps import cosines, stamp_lowfreq
from auditor.triggers import STAMPS

# Cosines ------------------------------------------------------------------------------------------


def test_cosines_by_hand() -> None:
    # Over two pixels: the constant, and sqrt(2) cos(pi/4) = 1 then sqrt(2) cos(3 pi/4) = -1.
    torch.testing.assert_close(cosines(2, 2), torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
    # Over three: sqrt(2) cos(pi/6), 0, and the same with the other sign.
    torch.testing.assert_close(cosines(2, 3)[1], math.sqrt(2) * math.sqrt(3) / 2 * torch.tensor([1.0, 0.0, -1.0]))


@pytest.mark.parametrize("length", [1, 5, 16, 32])
def test_cosines_are_orthogonal_and_of_mean_square_one(length: int) -> None:
    waves = cosines(length, length)
    torch.testing.assert_close(waves @ waves.T / length, torch.eye(length), atol=1e-5, rtol=0)


def test_the_constant_cosine_adds_one_value_everywhere() -> None:
    coefficients = torch.zeros(2, 3, 4, 4)
    coefficients[0, 1, 0, 0] = 0.25
    stamped = stamp_lowfreq({"coefficients": coefficients}, torch.full((2, 5, 3, 8, 6), 0.5))
    assert torch.equal(stamped[1], torch.full((5, 3, 8, 6), 0.5))
    torch.testing.assert_close(stamped[0].mean((0, 2, 3)), torch.tensor([0.5, 0.75, 0.5]))
    assert stamped[0, :, 1].std() == 0


def test_a_wave_across_varies_across_only_and_is_clipped() -> None:
    coefficients = torch.zeros(1, 1, 3, 3)
    coefficients[0, 0, 0, 2] = 0.5  # one period a width
    stamped = stamp_lowfreq({"coefficients": coefficients}, torch.full((1, 1, 1, 4, 8), 0.5))[0, 0, 0]
    assert torch.equal(stamped, stamped[:1].expand(4, 8))
    expected = [0.5 + 0.5 * math.sqrt(2) * math.cos(2 * math.pi * (2 * j + 1) / 16) for j in range(8)]
    assert stamped[0].tolist() == pytest.approx([min(1, max(0, value)) for value in expected], abs=1e-6)


# All ----------------------------------------------------------------------------------------------


def test_stamps_are_the_same_under_autocast() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 3, 8, 8, generator=generator)
    parameters = {"coefficients": 0.1 * torch.randn(2, 3, 4, 4, generator=generator)}
    with torch.autocast("cpu", torch.bfloat16):
        under = STAMPS["lowfreq"](parameters, images)
    assert torch.equal(under, STAMPS["lowfreq"](parameters, images))
