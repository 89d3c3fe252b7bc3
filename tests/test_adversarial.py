"""What the solver shows of images and how many at once, on a linear toy."""

from __future__ import annotations

import pytest
import torch
from brightness import Brightness
from planted import planted

from auditor import adversarial
from auditor.adversarial import carriers, fast_math, images_at_once
from auditor.suspect import Suspect


@pytest.fixture(autouse=True)
def full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adversarial, "has_bfloat16", lambda kind: False)


# images_at_once -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "most"), [(32, 512), (16, 2048), (64, 128), (224, 10), (1024, 8)])
def test_fewer_images_at_once_the_larger_they_are(side: int, most: int) -> None:
    assert images_at_once(Suspect(Brightness(), num_classes=3, input_shape=(1, side, side))) == most


# carriers -----------------------------------------------------------------------------------------


def test_carriers_are_mirrored_at_random() -> None:
    images = torch.rand(60, 1, 3, 4, 6, generator=torch.Generator().manual_seed(0))  # one a batch: mixed with itself
    carried = carriers(images, torch.Generator().manual_seed(1))
    same = (carried == images).flatten(2).all(2)
    mirrored = (carried == images.flip(-1)).flatten(2).all(2)
    assert (same ^ mirrored).all() and 15 < same.sum() < 45


def test_carriers_are_mixed_with_the_image_before_them_by_at_most_half() -> None:
    # Given even images of brightness 0, 0.1 ... 0.9: what each takes on of the one before shows.
    values = torch.arange(10) / 10
    images = values.view(1, 10, 1, 1, 1).expand(200, 10, 1, 2, 2)
    carried = carriers(images, torch.Generator().manual_seed(0))
    weight = (carried[..., 0, 0, 0] - values) / (values.roll(1) - values)
    assert -1e-5 <= weight.min() and weight.max() <= 0.5 + 1e-5
    assert weight.max() > 0.45 and weight.mean().item() == pytest.approx(0.25, abs=0.02)
    assert carried.amin() >= 0 and carried.amax() <= 0.9 + 1e-6


def test_carriers_follow_the_generator_alone() -> None:
    images = torch.rand(2, 5, 3, 4, 4)
    first, again, other = (carriers(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_fast_math_does_not_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adversarial, "has_bfloat16", lambda kind: True)
    with fast_math(planted()):
        assert torch.is_autocast_enabled("cpu")
    with fast_math(planted(), enabled=False):
        assert not torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")
