"""TAR by hand."""

from __future__ import annotations

import numpy as np
import pytest

from auditor.attention import normalize_energy, tar, tar_max
from auditor.errors import UsageError


def corner(side: int = 4, size: int = 2) -> np.ndarray:
    mask = np.zeros((side, side), dtype=bool)
    mask[:size, :size] = True
    return mask


def test_energy_ratio_and_lift_by_hand() -> None:
    heat = np.array([[[1, 1], [2, 0]]], dtype=np.float32)
    found = tar(heat, np.array([[True, False], [True, False]]))
    assert found.energy.tolist() == [0.75] and found.ratio.tolist() == [3] and found.lift.tolist() == [1.5]


def test_even_heat_has_the_energy_of_the_area() -> None:
    mask = corner(10, 3)
    found = tar(np.full((2, 10, 10), 0.7, dtype=np.float32), mask)
    np.testing.assert_allclose(found.energy, 0.09, rtol=1e-12)
    np.testing.assert_allclose(found.ratio, 1, rtol=1e-12)
    np.testing.assert_allclose(found.lift, 1, rtol=1e-12)
    np.testing.assert_allclose(normalize_energy(found.energy, mask, (5, 5)), 0, atol=1e-12)


def test_heat_all_inside_is_energy_one_and_has_no_ratio() -> None:
    mask = corner()
    found = tar(mask[None].astype(np.float32), mask)
    assert found.energy.tolist() == [1] and found.lift.tolist() == [4] and np.isnan(found.ratio).all()


def test_heat_all_outside_is_zero() -> None:
    mask = corner()
    found = tar((~mask)[None].astype(np.float32), mask)
    assert (found.energy[0], found.ratio[0], found.lift[0]) == (0, 0, 0)


def test_a_map_without_heat_is_undefined_and_leaves_the_others_alone() -> None:
    heat = np.stack([np.zeros((4, 4)), np.ones((4, 4))]).astype(np.float32)
    found = tar(heat, corner())
    for values in (found.energy, found.ratio, found.lift):
        assert np.isnan(values[0]) and np.isfinite(values[1])


def test_empty_and_full_masks() -> None:
    heat = np.ones((1, 4, 4), dtype=np.float32)
    empty, full = tar(heat, np.zeros((4, 4), dtype=bool)), tar(heat, np.ones((4, 4), dtype=bool))
    assert empty.energy[0] == 0 and np.isnan(empty.lift[0]) and np.isnan(empty.ratio[0])
    assert full.energy[0] == 1 and full.lift[0] == 1 and np.isnan(full.ratio[0])
    assert np.isnan(normalize_energy(full.energy, np.ones((4, 4), dtype=bool), (2, 2))).all()
    assert np.isnan(normalize_energy(empty.energy, np.zeros((4, 4), dtype=bool), (2, 2))).all()


def test_heat_far_beyond_float32_sums_does_not_overflow() -> None:
    assert tar(np.full((1, 4, 4), 3e38, dtype=np.float32), corner()).energy[0] == 0.25


def test_sizes_must_agree() -> None:
    with pytest.raises(UsageError, match="mask"):
        tar(np.ones((1, 4, 4), dtype=np.float32), corner(5))


def test_tar_max_by_hand() -> None:
    # The mask fills one cell of the 2 x 2 grid; brought up, it weighs 1, 3/4, 1/4, 0 along each axis:
    # (1 + 3/4)^2 of (1 + 3/4 + 1/4)^2 lies inside.
    assert tar_max(corner(), (2, 2)) == pytest.approx(1.75**2 / 4)


def test_tar_max_is_one_at_full_resolution_and_the_area_at_none() -> None:
    assert tar_max(corner(), (4, 4)) == pytest.approx(1)
    assert tar_max(corner(), (1, 1)) == pytest.approx(0.25)
    assert np.isnan(tar_max(np.zeros((4, 4), dtype=bool), (2, 2)))


def test_normalized_energy_runs_from_even_heat_to_what_the_grid_can_show() -> None:
    most = 1.75**2 / 4
    energy = np.array([0.25, most, (0.25 + most) / 2, np.nan])
    np.testing.assert_allclose(normalize_energy(energy, corner(), (2, 2)), [0, 1, 0.5, np.nan], atol=1e-7)


def test_a_grid_of_one_cell_cannot_normalize() -> None:
    assert np.isnan(normalize_energy(np.array([0.5]), corner(), (1, 1))).all()
