"""What the stamps of smooth triggers do, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from auditor.search import FAMILIES
from auditor.stamps import cosines, dense_flow, stamp_lowfreq, stamp_warp
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


# Warps --------------------------------------------------------------------------------------------


def ramp(height: int = 5, width: int = 9) -> torch.Tensor:
    """One image (1, 1, 1, H, W) that brightens by 0.01 a pixel across and 0.1 a pixel down."""
    return (0.1 * torch.arange(height)[:, None] + 0.01 * torch.arange(width)[None]).view(1, 1, 1, height, width)


def test_no_displacement_is_the_identity() -> None:
    images = torch.rand(2, 3, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    stamped = stamp_warp({"displacement": torch.zeros(2, 2, 4, 4)}, images)
    torch.testing.assert_close(stamped, images, atol=1e-6, rtol=0)


def test_an_even_displacement_fetches_from_that_many_pixels_away() -> None:
    # Given 1.5 pixels to the right and 1 down: 0.015 + 0.1 brighter, but at the edge's own value beyond it.
    displacement = torch.tensor([1.5, 1.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    moved = stamp_warp({"displacement": displacement}, ramp())[0, 0, 0]
    inside = (ramp() + 0.115)[0, 0, 0, :4, :7]
    torch.testing.assert_close(moved[:4, :7], inside, atol=1e-6, rtol=0)
    torch.testing.assert_close(moved[:, 8], ramp()[0, 0, 0, [1, 2, 3, 4, 4], 8], atol=1e-6, rtol=0)
    torch.testing.assert_close(moved[4], (0.4 + 0.01 * (torch.arange(9) + 1.5).clamp(max=8)), atol=1e-6, rtol=0)


def test_control_points_lie_on_the_corners() -> None:
    displacement = torch.zeros(1, 2, 2, 2)
    displacement[0, 0, 0, 1], displacement[0, 1, 1, 0] = 2.0, -3.0
    flow = dense_flow(displacement, 8, 6)[0]
    assert flow[0, 0, 5].item() == pytest.approx(2) and flow[1, 7, 0].item() == pytest.approx(-3)
    assert flow[:, 0, 0].tolist() == pytest.approx([0, 0]) and flow[:, 7, 5].tolist() == pytest.approx([0, 0])


def test_every_arm_warps_all_its_images_by_its_own_grid() -> None:
    generator = torch.Generator().manual_seed(0)
    images, grids = torch.rand(3, 4, 3, 6, 6, generator=generator), torch.randn(3, 2, 4, 4, generator=generator)
    together = stamp_warp({"displacement": grids}, images)
    for arm in range(3):
        for image in range(4):
            alone = stamp_warp({"displacement": grids[[arm]]}, images[[arm]][:, [image]])
            torch.testing.assert_close(together[arm, image], alone[0, 0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e38])
def test_a_displacement_that_is_no_number_writes_nowhere(value: float) -> None:
    """torch's grid_sample computes places in memory from positions on its way back: a NaN ended the process."""
    displacement = torch.full((2, 2, 4, 4), value, requires_grad=True)
    stamped = stamp_warp({"displacement": displacement}, torch.rand(2, 3, 3, 16, 16))
    assert torch.isfinite(stamped).all()
    stamped.sum().backward()


def test_one_row_or_column_of_pixels_can_be_warped() -> None:
    stamped = stamp_warp({"displacement": torch.ones(1, 2, 2, 2)}, torch.rand(1, 2, 1, 1, 4))
    assert torch.isfinite(stamped).all()


# All ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_stamps_are_the_same_under_autocast(family: str) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 3, 8, 8, generator=generator)
    parameters = FAMILIES[family].constrain(FAMILIES[family].start(2, (3, 8, 8), generator))
    with torch.autocast("cpu", torch.bfloat16):
        under = STAMPS[family](parameters, images)
    assert under.dtype == torch.float32 and torch.equal(under, STAMPS[family](parameters, images))
