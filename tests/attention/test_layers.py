"""Which layer Grad-CAM reads, for networks of every kind."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from auditor.attention import Layer, target_layer
from auditor.attention.layers import GIVEN_RULE, least_side, map_shape
from auditor.checkpoint.nets import create
from auditor.errors import UsageError
from auditor.suspect import Suspect


def suspect(module: nn.Module, side: int = 32) -> Suspect:
    return Suspect(module, num_classes=10, input_shape=(3, side, side))


def found(module: nn.Module, side: int = 32) -> tuple[str, tuple[int, int]] | None:
    layer = target_layer(suspect(module, side))
    return None if layer is None else (layer.name, layer.shape)


@pytest.mark.parametrize(
    ("name", "layer", "shape"),
    [("resnet20", "layer3", (8, 8)), ("resnet18", "layer3", (8, 8)), ("vgg11_bn", "features.13", (8, 8))],
)
def test_last_stage_of_known_networks(name: str, layer: str, shape: tuple[int, int]) -> None:
    assert found(create(name, 10)) == (layer, shape)


@pytest.mark.parametrize(("image", "least"), [((8, 8), 4), ((20, 40), 5), ((28, 28), 7), ((32, 32), 7), ((224, 224), 7)])
def test_the_smaller_the_image_the_smaller_its_map_may_be(image: tuple[int, int], least: int) -> None:
    assert least_side(image) == least


def test_rule_says_in_words_why() -> None:
    layer = target_layer(suspect(create("resnet20", 10)))
    assert layer is not None and layer.rule == "the last feature map of at least 7 by 7 positions before pooling"


def test_pooling_and_what_hands_its_map_on_do_not_count() -> None:
    features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(), nn.Identity())
    module = nn.Sequential(features, nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Linear(288, 10))
    assert found(module) == ("0.1", (30, 30))


def test_execution_order_decides_rather_than_registration_order() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.second, self.first = nn.Conv2d(4, 5, 3, 2), nn.Conv2d(3, 4, 3, 2)

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.second(self.first(images)).mean((2, 3)).repeat(1, 2)
            return logits

    assert found(Backwards()) == ("second", (7, 7))


def test_maps_of_one_channel_or_too_few_positions_do_not_count() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 1, 1), nn.Conv2d(1, 4, 3, 3), nn.Flatten())
    assert found(module) == ("0", (8, 8))


def test_networks_without_a_map_have_no_layer() -> None:
    assert found(nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))) is None


def test_the_patches_of_a_transformer_are_no_map() -> None:
    vit = VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=10
    )
    assert found(vit) is None


def test_a_named_layer_is_taken_as_given() -> None:
    assert target_layer(suspect(create("resnet20", 10)), "layer2.0") == Layer(
        name="layer2.0", rule=GIVEN_RULE, shape=(16, 16)
    )


@pytest.mark.parametrize("name", ["", "layer9", "linear", "x\x1b[31m" * 100])
def test_a_name_that_is_no_layer_with_a_map_is_refused(name: str) -> None:
    with pytest.raises(UsageError) as refused:
        target_layer(suspect(create("resnet20", 10)), name)
    assert refused.value.next_step and "\x1b" not in str(refused.value) and len(str(refused.value)) < 600


def test_maps_are_told_by_channels_first_and_aspect() -> None:
    assert map_shape(torch.zeros(2, 8, 7, 7), (224, 224)) == (7, 7)
    assert map_shape(torch.zeros(2, 8, 4, 8), (32, 64)) == (4, 8)
    assert map_shape(torch.zeros(2, 7, 7, 768), (224, 224)) is None
    assert map_shape(torch.zeros(2, 8, 7, 7, dtype=torch.int64), (224, 224)) is None
    assert map_shape((torch.zeros(2, 8, 7, 7),), (224, 224)) is None


def test_looking_leaves_no_hooks_and_costs_one_image() -> None:
    model = suspect(create("resnet20", 10))
    target_layer(model)
    assert model.meter.forward_images == 1 and model.meter.backward_images == 0
    assert not any(module._forward_hooks for module in model.module.modules())


def test_hooks_are_gone_after_a_network_that_fails() -> None:
    model = suspect(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(7, 10)))
    with pytest.raises(RuntimeError):
        target_layer(model)
    assert not any(module._forward_hooks for module in model.module.modules())
