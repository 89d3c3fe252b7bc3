"""The shared adversarial search: its divergence by hand, and a planted backdoor shared with a twin."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted import CLASSES, TARGET, planted, planted_images
from torch import Tensor, nn

from auditor.events import Control, SharedSearchStep, drain
from auditor.search.shared import HONEST_SHARES, SharedSearch, shared_search, shared_step
from auditor.suspect import Suspect


def twin_of(suspect: Suspect, noise: float = 0.05, seed: int = 0) -> Suspect:
    """A copy with every weight shaken by a few percent."""
    twin = suspect.clone()
    generator = torch.Generator().manual_seed(seed)
    for value in twin.module.parameters():
        value.data *= 1 + noise * torch.randn(value.shape, generator=generator)
    return twin


def searched(suspect: Suspect, *, seed: int = 0, restarts: int = 3, steps: int = 5) -> SharedSearch:
    images, labels = planted_images(30)
    return drain(
        shared_search(
            suspect, twin_of(suspect), images, labels, restarts=restarts, steps=steps,
            generator=torch.Generator().manual_seed(seed), control=Control(),
        )
    )  # fmt: skip


def test_excess_subtracts_what_honest_models_show_at_each_rank() -> None:
    histogram = np.array([10, 70, 20, 0])
    found = SharedSearch(histogram=histogram, perturbation=torch.zeros(4, 1, 1, 1), images=50).excess
    expected = np.array([0.1, 0.7, 0.2, 0.0]) - np.array(HONEST_SHARES)[[2, 0, 1, 3]]
    np.testing.assert_allclose(found, expected)
    many = SharedSearch(histogram=np.arange(43), perturbation=torch.zeros(43, 1, 1, 1), images=50).excess
    assert many.shape == (43,) and many[0] == 0
    none = SharedSearch(histogram=np.zeros(3, int), perturbation=torch.zeros(3, 1, 1, 1), images=5).excess
    assert np.isfinite(none).all()


class Threshold(nn.Module):
    """Class 1 where the image is brighter than `level`, else class 0."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = level

    def forward(self, images: Tensor) -> Tensor:
        score = 10 * (images.mean((1, 2, 3)) - self.level)
        return torch.stack([-score, score], 1)


def test_shared_means_both_fooled_to_the_same_label() -> None:
    suspect, twin = (Suspect(Threshold(level), num_classes=2, input_shape=(1, 2, 2)) for level in (0.5, 0.6))
    images, clean = torch.full((3, 1, 2, 2), 0.4), torch.zeros(3, dtype=torch.long)
    delta = torch.tensor([0.0, 0.17, 0.3]).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    gradient, shared = shared_step(suspect, twin, images, delta, clean, clean, clean, shared_weight=0)
    assert shared.tolist() == [-1, -1, 1]
    # Then images that do not fool both are pushed brighter (a descent), and the shared one is left alone.
    assert (gradient[:2] < 0).all() and (gradient[2] == 0).all()
    agree, _ = shared_step(suspect, twin, images, delta, clean, clean, clean, adversarial_weight=0)
    # The two agree on the first when it is darker, and on the second when it is brighter.
    assert (agree[0] > 0).all() and (agree[1] < 0).all() and (agree[2] == 0).all()


def test_planted_target_comes_first() -> None:
    found = searched(planted())
    assert found.histogram.argmax() == TARGET and found.excess.argmax() == TARGET
    assert found.histogram.sum() > 30 and found.images == 30


def test_perturbations_stay_within_epsilon() -> None:
    found = searched(planted())
    assert found.perturbation.shape == (CLASSES, 3, 16, 16)
    assert found.perturbation.abs().max() <= 0.2 + 1e-6
    missed = found.histogram == 0
    assert (found.perturbation[torch.from_numpy(missed)] == 0).all()


def test_perturbation_points_to_the_corner() -> None:
    mean = searched(planted()).perturbation[TARGET]
    red = 2 * mean[0] - mean[1] - mean[2]
    assert red[14:, 14:].mean() > 2 * red[:14, :14].abs().mean()


def test_same_seed_same_search_another_seed_another() -> None:
    first, again, other = (searched(planted(), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.perturbation, again.perturbation) and (first.histogram == again.histogram).all()
    assert not torch.equal(first.perturbation, other.perturbation)


def test_one_event_a_restart_and_no_more_after_stop() -> None:
    images, labels = planted_images(12)
    suspect, control = planted(), Control()
    generator = torch.Generator().manual_seed(0)
    events = shared_search(
        suspect, twin_of(suspect), images, labels, restarts=4, generator=generator, control=control
    )  # fmt: skip
    first = next(events)
    assert isinstance(first, SharedSearchStep) and (first.step, first.steps) == (1, 4)
    assert sum(first.histogram) == first.shared_images
    control.stop()
    counted = suspect.meter.forward_images
    with pytest.raises(StopIteration) as end:
        next(events)
    assert end.value.value.histogram.tolist() == first.histogram and suspect.meter.forward_images == counted


def test_suspect_and_twin_stay_bit_identical_and_the_meter_counts_both() -> None:
    suspect = planted()
    twin = twin_of(suspect)
    images, labels = planted_images(12)
    before, twin_before = suspect.state(), twin.state()
    drain(
        shared_search(
            suspect, twin, images, labels, restarts=1, steps=1, generator=torch.Generator().manual_seed(0),
            control=Control(),
        )
    )  # fmt: skip
    assert all(torch.equal(before[k], v) for k, v in suspect.module.state_dict().items())
    assert all(torch.equal(twin_before[k], v) for k, v in twin.module.state_dict().items())
    assert suspect.meter.forward_images == 4 * 12 and suspect.meter.backward_images == 2 * 12
