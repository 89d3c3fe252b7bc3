"""Surrogate images: the statistics' difference by hand, that descent lowers it, and networks without batch-norm."""

from __future__ import annotations

import math

import pytest
import torch
from planted import CLASSES, SIDE, planted
from torch import Tensor, nn

from auditor.datafree.surrogates import (
    jittered,
    smooth_noise,
    statistics_mismatch,
    surrogate_images,
    tracked_norms,
    variation,
    watched,
)
from auditor.suspect import Suspect


def _normed(classes: int = 4, seed: int = 0) -> Suspect:
    """A small convolutional network whose batch-norm remembers dark images (mean 0.2, deviation 0.05)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            nn.Linear(32, classes),
        )  # fmt: skip
    norm = net[0]
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.fill_(0.2)
    norm.running_var.fill_(0.05**2)
    return Suspect(net, num_classes=classes, input_shape=(3, 16, 16))


def test_the_mismatch_is_in_units_of_the_running_deviation() -> None:
    layer = nn.BatchNorm2d(1, eps=0.0).eval()
    assert layer.running_mean is not None and layer.running_var is not None
    layer.running_mean.fill_(1.0)
    layer.running_var.fill_(4.0)
    seen = torch.tensor([3.0, 11.0]).view(2, 1, 1, 1)  # mean 7, deviation 4
    assert float(statistics_mismatch([(layer, seen)])) == pytest.approx((6 / 2) ** 2 + (4 / 2 - 1) ** 2)


def test_surrogates_meet_the_statistics_that_noise_does_not() -> None:
    suspect = _normed()
    made = surrogate_images(suspect, seed=0, per_class=2, steps=60)
    noise = surrogate_images(suspect, seed=0, per_class=2, steps=1)
    assert made.basis == "batch-norm statistics"
    assert made.mismatch < 0.1 * noise.mismatch
    assert float(made.images.mean()) == pytest.approx(0.2, abs=0.05)
    assert made.images.shape == (8, 3, 16, 16)
    assert 0 <= float(made.images.min()) and float(made.images.max()) <= 1


def test_labels_are_what_the_suspect_answers_and_mostly_the_class_asked_for() -> None:
    suspect = _normed()
    made = surrogate_images(suspect, seed=0, per_class=2, steps=100)
    assert made.labels.tolist() == suspect.predict(made.images).tolist()
    wanted = torch.arange(4).repeat(2)
    assert float((made.labels == wanted).float().mean()) >= 0.75


def test_the_same_seed_gives_the_same_images_and_leaves_the_network_alone() -> None:
    suspect = _normed()
    before = suspect.state()
    first = surrogate_images(suspect, seed=1, per_class=1, steps=5)
    assert suspect.meter.backward_images == 4 * 5
    again = surrogate_images(_normed(), seed=1, per_class=1, steps=5)
    other = surrogate_images(_normed(), seed=2, per_class=1, steps=5)
    assert torch.equal(first.images, again.images) and not torch.equal(first.images, other.images)
    assert all(torch.equal(before[name], value) for name, value in suspect.state().items())
    assert not any(module._forward_pre_hooks for module in suspect.module.modules())


def test_hooks_go_even_when_the_forward_pass_fails() -> None:
    suspect = _normed()
    with pytest.raises(RuntimeError), watched(tracked_norms(suspect.module)):
        suspect(torch.zeros(1, 5, 16, 16))
    assert not any(module._forward_pre_hooks for module in suspect.module.modules())


def test_without_batch_norm_smooth_noise_carries_the_search() -> None:
    suspect = planted()
    made = surrogate_images(suspect, seed=0, per_class=3)
    assert made.basis == "smooth noise" and math.isnan(made.mismatch)
    assert made.images.shape == (3 * CLASSES, 3, SIDE, SIDE)
    assert suspect.meter.backward_images == 0
    assert made.labels.tolist() == suspect.predict(made.images).tolist()


def test_batch_norm_that_keeps_no_statistics_is_none() -> None:
    assert tracked_norms(nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False))) == []


def test_smooth_noise_is_smoother_than_its_pixels_shuffled() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = smooth_noise(4, (3, 32, 32), generator)
    order = torch.randperm(32 * 32, generator=generator)
    shuffled: Tensor = noise.flatten(2)[..., order].view_as(noise)
    assert float(variation(noise)) < 0.5 * float(variation(shuffled))


def test_variation_by_hand() -> None:
    image = torch.tensor([[[[0.0, 1.0], [0.5, 0.5]]]])
    assert float(variation(image)) == pytest.approx(0.5 + 0.5)  # across: (1 + 0) / 2; down: (0.5 + 0.5) / 2


def test_jitter_moves_pixels_and_changes_none() -> None:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    moved = jittered(images, torch.Generator().manual_seed(1))
    assert not torch.equal(moved, images)
    assert torch.equal(moved.flatten().sort().values, images.flatten().sort().values)
