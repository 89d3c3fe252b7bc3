"""Our Neural Cleanse: its index by hand, its schedule, and a planted backdoor that it must find."""

from __future__ import annotations

import numpy as np
import planted
import pytest
import torch

from benchmarks.detect.neural_cleanse import Costs, Settings, anomaly_index, flagged, invert

FEW = Settings(epochs=60, batch_size=12)


def test_the_index_is_on_the_low_side_in_consistent_deviations() -> None:
    # Median 50; distances 40, 10, 0, 10, 20: MAD 10
    index = anomaly_index(np.array([10.0, 40, 50, 60, 70]))
    assert index == pytest.approx(np.array([4, 1, 0, -1, -2]) / 1.4826)
    assert flagged(index) == [0]  # 2.70; the class as far above is no evidence
    assert flagged(np.array([2.1, 2.0, 5.0, -9.0])) == [2, 0]


def test_no_spread_gives_no_index() -> None:
    for norms in ([50.0] * 5, [1.0, 50, 50, 50], [1.0, 2]):
        assert np.isnan(anomaly_index(np.array(norms))).all()
        assert flagged(anomaly_index(np.array(norms))) == []


def test_the_cost_is_set_doubled_and_lowered_by_patience() -> None:
    # Given: a class that always flips enough, one that never does, and one that stops after ten epochs
    costs, seen = Costs(3, Settings()), []
    for epoch in range(20):
        costs.update(torch.tensor([True, False, epoch < 10]))
        seen.append([round(c, 9) for c in costs.cost.tolist()])
    # Then: zero for four epochs, set at the fifth, doubled at every fifth, divided by 2^1.5 when it fails
    assert seen[3] == [0, 0, 0] and seen[4] == [0.001, 0, 0.001]
    assert [row[0] for row in seen[4::5]] == [0.001, 0.002, 0.004, 0.008]
    assert [row[1] for row in seen] == [0] * 20
    assert [row[2] for row in seen[4::5]] == pytest.approx([0.001, 0.002, 0.002 / 2**1.5, 0.002 / 8])


def test_a_planted_patch_is_the_one_small_mask() -> None:
    # Given: a network that answers TARGET when four pixels are red
    images, _ = planted.planted_images(24)
    suspect = planted.planted()
    found = invert(suspect, images, seed=0, settings=FEW)
    # Then: the mask toward TARGET is the smallest, sits on those pixels, and flips the images
    assert found.mask_l1.argmin() == planted.TARGET and flagged(anomaly_index(found.mask_l1))[0] == planted.TARGET
    mask = found.mask[planted.TARGET].numpy()
    assert mask[planted.corner_mask()].sum() > 0.5 * mask.sum()
    assert found.succeeded[planted.TARGET] and found.flipped[planted.TARGET] >= FEW.enough
    assert found.mask_l1 == pytest.approx(found.mask.sum((1, 2)).numpy())
    # And: every class passed every image once an epoch, each way
    passed = 60 * 24 * planted.CLASSES
    assert (suspect.meter.forward_images, suspect.meter.backward_images) == (passed, passed)


def test_its_honest_twin_has_no_such_mask_at_the_target() -> None:
    images, _ = planted.planted_images(24)
    backdoored, honest = (invert(planted.planted(*strength), images, seed=0, settings=FEW) for strength in ((), (0.0,)))
    assert backdoored.mask_l1[planted.TARGET] < 0.5 * honest.mask_l1[planted.TARGET]
    assert planted.TARGET not in flagged(anomaly_index(honest.mask_l1))


def test_the_seed_decides_and_the_classes_at_once_do_not() -> None:
    images, _ = planted.planted_images(12)
    short = Settings(epochs=4, batch_size=6)
    one, same, apart, other = (
        invert(planted.planted(), images, seed=seed, settings=short, classes_at_once=at_once)
        for seed, at_once in ((0, None), (0, None), (0, 2), (1, None))
    )
    assert torch.equal(one.mask, same.mask) and torch.equal(one.pattern, same.pattern)
    assert torch.allclose(one.mask, apart.mask, atol=0.02)  # kernels may round otherwise for other batches
    assert not torch.allclose(one.mask, other.mask, atol=0.02)


def test_without_images_it_is_refused() -> None:
    with pytest.raises(ValueError, match="clean images"):
        invert(planted.planted(), torch.zeros(0, 3, 16, 16), seed=0)
