"""Input-dependent triggers: their size by hand, and a network that answers to a change each image decides."""

from __future__ import annotations

import math

import pytest
import torch
from one_family import search_one_family
from planted import CLASSES, TARGET, PlantedNet, planted_images
from torch import Tensor

from auditor.search.generator import Feature
from auditor.triggers import MAX_WEIGHT

SHAPE = (3, 8, 10)


class EchoNet(PlantedNet):
    """The honest planted network, but red that follows the image's own green tells it TARGET.

    Where green is bright differs from class to class, so no one perturbation suits all images.
    """

    def __init__(self, strength: float) -> None:
        super().__init__(0.0)
        self.strength = strength

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = super().forward(images)
        green = images[:, 1] - images[:, 1].mean((1, 2), keepdim=True)
        follows = ((images[:, 0] - images[:, 1]) * green).mean((1, 2))
        answer = torch.nn.functional.leaky_relu(follows - 0.001, 0.1)
        return logits + self.strength * answer[:, None] * torch.eye(CLASSES)[TARGET]


def test_a_change_that_follows_the_image_is_found() -> None:
    found = search_one_family(EchoNet(4000.0), "feature")
    cost = [candidate.cost or math.inf for candidate in found]
    assert 2 * cost[TARGET] < min(cost[:TARGET] + cost[TARGET + 1 :])
    # Then what it adds differs between images of different classes far more than within one.
    images, labels = planted_images()
    change = found[TARGET].trigger.stamp(images) - images
    first, second, other = change[labels == 0][0], change[labels == 0][1], change[labels == 3][0]
    assert (first - other).square().mean() > 2 * (first - second).square().mean()


def test_the_honest_twin_has_no_such_class() -> None:
    cost = [candidate.cost or math.inf for candidate in search_one_family(EchoNet(0.0), "feature")]
    assert 2 * min(cost) > sorted(cost)[CLASSES // 2]


def test_the_change_has_the_size_its_strength_says_in_every_image() -> None:
    family = Feature()
    parameters = family.constrain(family.start(2, SHAPE, torch.Generator().manual_seed(0)))
    parameters["strength"] = torch.tensor([[0.02], [0.04]])
    images = 0.3 + 0.4 * torch.rand(2, 5, *SHAPE, generator=torch.Generator().manual_seed(1))  # far from clipping
    change = family.stamp(parameters, images) - images
    size = change.square().mean((2, 3, 4)).sqrt()
    torch.testing.assert_close(size, torch.tensor([[0.02], [0.04]]).expand(2, 5), rtol=1e-3, atol=0)
    assert not torch.allclose(change[:, 0], change[:, 1], atol=1e-3)
    assert family.cost(parameters).tolist() == pytest.approx([0.02, 0.04])
    assert family.penalty(parameters).tolist() == pytest.approx([0.2, 0.4])


def test_a_generator_is_strengthened_at_a_third_of_the_pace() -> None:
    parameters = {**Feature().start(3, SHAPE, torch.Generator()), "strength": torch.full((3, 1), 0.1)}
    scaled = Feature().scale(parameters, torch.tensor([0.5, 2.5, 4.0]))
    assert Feature().cost(scaled).tolist() == pytest.approx([0.05, 0.15, 0.2])
    assert scaled["first"] is parameters["first"]


def test_a_generator_of_no_strength_is_the_identity() -> None:
    family = Feature()
    parameters = family.constrain(family.start(1, SHAPE, torch.Generator().manual_seed(0)))
    images = torch.rand(1, 2, *SHAPE, generator=torch.Generator().manual_seed(1))
    assert torch.equal(family.stamp({**parameters, "strength": torch.zeros(1, 1)}, images), images)


def test_a_generator_that_draws_nothing_adds_nothing() -> None:
    parameters = {name: torch.zeros_like(value) for name, value in Feature().start(1, SHAPE, torch.Generator()).items()}
    images = torch.rand(1, 2, *SHAPE)
    parameters = {name: value.requires_grad_(True) for name, value in Feature().constrain(parameters).items()}
    stamped = Feature().stamp(parameters, images)
    assert torch.equal(stamped, images)
    gradients = torch.autograd.grad(stamped.square().sum(), list(parameters.values()), allow_unused=True)
    assert all(gradient is None or torch.isfinite(gradient).all() for gradient in gradients)


def test_a_generator_by_hand() -> None:
    # Given one hidden channel that takes the pixel itself and gives it back: 2 x - 1, a tenth of it below zero.
    parameters = {"first": torch.zeros(1, 1, 1, 3, 3), "bias": torch.zeros(1, 1), "second": torch.zeros(1, 1, 1, 3, 3)}
    parameters["first"][..., 1, 1] = parameters["second"][..., 1, 1] = 1
    images = torch.tensor([0.25, 0.5, 0.75, 0.9]).view(1, 1, 1, 2, 2)
    stamped = Feature().stamp({**parameters, "strength": torch.tensor([[0.1]])}, images)
    drawn = [math.tanh(value) for value in (-0.05, 0.0, 0.5, 0.8)]
    size = math.sqrt(sum(value**2 for value in drawn) / 4)
    expected = [x + 0.1 * r / size for x, r in zip((0.25, 0.5, 0.75, 0.9), drawn, strict=True)]
    assert stamped.flatten().tolist() == pytest.approx([min(1, value) for value in expected], abs=1e-5)


def test_every_arm_has_a_generator_of_its_own() -> None:
    family = Feature()
    parameters = family.constrain(family.start(3, SHAPE, torch.Generator().manual_seed(0)))
    images = torch.rand(3, 4, *SHAPE, generator=torch.Generator().manual_seed(1))
    together = family.stamp(parameters, images)
    for arm in range(3):
        alone = family.stamp({name: value[[arm]] for name, value in parameters.items()}, images[[arm]])
        torch.testing.assert_close(together[arm], alone[0], atol=1e-6, rtol=0)


def test_weights_stay_within_what_a_trigger_file_may_hold() -> None:
    raw = {name: 1e3 * value for name, value in Feature().start(2, SHAPE, torch.Generator().manual_seed(0)).items()}
    parameters = Feature().constrain(raw)
    assert parameters["first"].abs().max() == MAX_WEIGHT and 0 <= parameters["strength"].min() <= 1
    assert Feature().constrain({**raw, "strength": torch.ones(2, 1)})["strength"].tolist() == [[1], [1]]
    assert Feature().start_from(torch.rand(3, 8, 8)) == {}
