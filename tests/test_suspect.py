"""The suspect: normalisation by hand, frozen weights, and what the meter counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from auditor.suspect import Meter, Suspect


class ChannelMeans(nn.Module):
    """Logits (N, 3) are the scaled means of the three channels."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.drop = nn.Dropout(0.5)
        self.seen: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        logits: Tensor = self.drop(images.mean((2, 3)) * self.scale)
        return logits


def suspect(**options: Any) -> Suspect:
    return Suspect(ChannelMeans(), num_classes=3, input_shape=(3, 4, 4), **options)


def test_normalisation_is_per_channel() -> None:
    images = torch.tensor([0.5, 0.25, 1.0]).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    found = suspect(mean=(0.5, 0.0, 0.5), std=(0.1, 0.5, 0.25))(images)
    assert torch.allclose(found, torch.tensor([[0.0, 0.5, 2.0]] * 2), atol=1e-6)


def test_one_number_normalises_all_channels() -> None:
    images = torch.full((1, 3, 4, 4), 0.75)
    assert torch.allclose(suspect(mean=(0.5,), std=(0.5,))(images), torch.full((1, 3), 0.5))
    assert torch.equal(suspect().normalize(images), images)


def test_module_is_frozen_and_in_evaluation_mode() -> None:
    model = suspect()
    assert not model.module.training and not model.module.drop.training  # type: ignore[union-attr]
    assert not any(p.requires_grad for p in model.module.parameters())


def test_prediction_runs_in_batches_and_without_gradients() -> None:
    images = torch.zeros(5, 3, 4, 4)
    images[torch.arange(5), torch.tensor([2, 0, 1, 1, 2])] = 1
    model = suspect()
    predicted = model.predict(images.requires_grad_(True), batch_size=2)
    assert predicted.tolist() == [2, 0, 1, 1, 2] and predicted.dtype == np.int64
    assert model.module.seen == [2, 2, 1]  # type: ignore[comparison-overlap]
    assert not model.logits(images).requires_grad


def test_no_images_give_no_logits() -> None:
    assert suspect().logits(torch.zeros(0, 3, 4, 4)).shape == (0, 3)
    assert suspect().predict(torch.zeros(0, 3, 4, 4)).shape == (0,)


def test_meter_counts_forward_always_and_backward_when_it_happens() -> None:
    model = suspect()
    images = torch.rand(4, 3, 4, 4, requires_grad=True)
    logits = model(images)
    assert (model.meter.forward_images, model.meter.backward_images) == (4, 0)
    logits.sum().backward()
    assert (model.meter.forward_images, model.meter.backward_images) == (4, 4)
    model.predict(images)
    model(images.detach())
    assert (model.meter.forward_images, model.meter.backward_images) == (12, 4)


def test_clone_is_independent_and_counts_on_the_same_meter() -> None:
    meter = Meter()
    model = suspect(meter=meter, mean=(0.1,), std=(0.2,))
    clone = model.clone()
    with torch.no_grad():
        clone.module.scale.mul_(0)  # type: ignore[union-attr, operator]
    images = torch.rand(2, 3, 4, 4)
    assert clone(images).abs().sum() == 0 and model(images).abs().sum() > 0
    assert clone.meter is meter and meter.forward_images == 4
    assert (clone.mean, clone.std, clone.num_classes, clone.input_shape) == ((0.1,), (0.2,), 3, (3, 4, 4))
    assert clone.meter is not suspect().meter


def test_state_is_a_copy() -> None:
    model = suspect()
    model.state()["scale"].zero_()
    assert model.state()["scale"].tolist() == [1, 1, 1]


def test_named_layers_are_the_leaves_in_order() -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(nn.ReLU(), nn.Flatten()), nn.Linear(48, 3))
    names = [name for name, _ in Suspect(module, num_classes=3, input_shape=(3, 4, 4)).named_layers()]
    assert names == ["0", "1.0", "1.1", "2"]
