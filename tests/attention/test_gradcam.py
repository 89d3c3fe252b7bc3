"""Grad-CAM: by hand on a toy network, against captum on real ones, and what it leaves behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam
from torch import Tensor, nn
from torchvision.models import resnet18

from auditor.attention import grad_cam
from auditor.checkpoint.nets import create
from auditor.errors import UsageError
from auditor.suspect import Suspect


class Toy(nn.Module):
    """Maps A1 = x - 0.5 and A2 = 2x of a 4 x 4 image, through an in-place ReLU, to two logits.

    Logit 0 is sum(relu(A1)) + sum(relu(A2)); logit 1 its negative.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.head = nn.Conv2d(1, 2, 1), nn.ReLU(inplace=True), nn.Linear(32, 2, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([1.0, 2.0]).view(2, 1, 1, 1))
            self.conv.bias.copy_(torch.tensor([-0.5, 0.0]))  # type: ignore[union-attr]
            self.head.weight.copy_(torch.tensor([[1.0], [-1.0]]).expand(2, 32))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.relu(self.conv(images)).flatten(1))
        return logits


def toy() -> tuple[Suspect, Tensor]:
    """The toy, and one image: its upper half 0.75, its lower half 0.25."""
    image = torch.full((1, 1, 4, 4), 0.25)
    image[:, :, :2] = 0.75
    return Suspect(Toy(), num_classes=2, input_shape=(1, 4, 4)), image


def randomized(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module with seeded weights, so that comparisons repeat."""
    generator = torch.Generator().manual_seed(seed)
    for value in module.parameters():
        value.data = torch.randn(value.shape, generator=generator) / max(1, value[0].numel()) ** 0.5
    return module


def test_grad_cam_by_hand_before_an_in_place_relu() -> None:
    # Given gradients of logit 0: 1 in the upper half of A1, 0 below (the ReLU is shut), 1 all over A2,
    # so the weights are 1/2 and 1 and the heat is relu((x - 0.5) / 2 + 2x).
    model, image = toy()
    heat = grad_cam(model, image, torch.tensor([0]), "conv")
    expected = np.full((4, 4), 0.5 - 0.125)
    expected[:2] = 1.5 + 0.125
    assert heat.shape == (1, 4, 4) and heat.dtype == np.float32
    np.testing.assert_allclose(heat[0], expected, rtol=1e-6)


def test_evidence_against_the_class_is_no_heat() -> None:
    model, image = toy()
    assert grad_cam(model, image, torch.tensor([1]), "conv").max() == 0


def test_no_classes_mean_the_predicted_ones() -> None:
    model, image = toy()
    predicted = torch.from_numpy(model.predict(image))
    assert predicted.tolist() == [0]
    np.testing.assert_array_equal(grad_cam(model, image, None, "conv"), grad_cam(model, image, predicted, "conv"))


def test_a_module_used_twice_is_read_where_it_was_used_last() -> None:
    class Shared(Toy):
        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.head(self.relu(self.conv(self.relu(images) - 0.1)).flatten(1))
            return logits

    image = toy()[1]
    model = Suspect(Shared(), num_classes=2, input_shape=(1, 4, 4))
    expected = 2 * (image[0, 0] - 0.1) + torch.relu(image[0, 0] - 0.6)
    np.testing.assert_allclose(grad_cam(model, image, torch.tensor([0]), "relu")[0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("module", "layer", "side"),
    [(create("resnet20", 10), "layer3", 32), (create("resnet20", 10), "layer2.1", 32),
     (resnet18(num_classes=10), "layer3", 64), (resnet18(num_classes=10), "relu", 64)],
)  # fmt: skip
def test_agrees_with_captum(module: nn.Module, layer: str, side: int) -> None:
    model = Suspect(
        randomized(module), num_classes=10, input_shape=(3, side, side), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25)
    )
    images = torch.rand(6, 3, side, side, generator=torch.Generator().manual_seed(1))
    classes = torch.tensor([0, 3, 9, 2, 2, 7])
    oracle = LayerGradCam(model.module, dict(model.module.named_modules())[layer])
    seen = oracle.attribute(model.normalize(images).requires_grad_(True), target=classes, relu_attributions=True)
    expected = LayerAttribution.interpolate(seen, (side, side), "bilinear")[:, 0].detach().numpy()
    heat = grad_cam(model, images, classes, layer, batch_size=4)
    assert expected.max() > 0
    np.testing.assert_allclose(heat / expected.max(), expected / expected.max(), atol=1e-4)


def test_leaves_the_model_bit_identical_and_hook_free() -> None:
    model = Suspect(randomized(create("resnet20", 10)), num_classes=10, input_shape=(3, 32, 32))
    before, images = model.state(), torch.rand(3, 3, 32, 32)
    kept = images.clone()
    grad_cam(model, images, None, "layer3")
    assert all(torch.equal(before[name], value) for name, value in model.module.state_dict().items())
    assert not any(module._forward_hooks or module.training for module in model.module.modules())
    assert not any(value.requires_grad or value.grad is not None for value in model.module.parameters())
    assert torch.equal(images, kept) and not images.requires_grad


def test_hooks_are_gone_after_an_error() -> None:
    model, image = toy()
    with pytest.raises((IndexError, RuntimeError)):
        grad_cam(model, image, torch.tensor([5]), "conv")
    assert not model.module.conv._forward_hooks  # type: ignore[union-attr]


def test_meter_counts_one_forward_and_one_backward_an_image() -> None:
    model, image = toy()
    grad_cam(model, image.expand(5, 1, 4, 4), None, "conv", batch_size=2)
    assert (model.meter.forward_images, model.meter.backward_images) == (5, 5)


def test_works_where_the_caller_turned_gradients_off() -> None:
    model, image = toy()
    with torch.no_grad():
        assert grad_cam(model, image, None, "conv").max() > 1
        assert not torch.is_grad_enabled()


def test_no_images_give_no_heat() -> None:
    assert grad_cam(toy()[0], torch.zeros(0, 1, 4, 4), None, "conv").shape == (0, 4, 4)


@pytest.mark.parametrize("layer", ["nowhere", "head"])
def test_a_layer_without_a_map_is_refused(layer: str) -> None:
    model, image = toy()
    with pytest.raises(UsageError):
        grad_cam(model, image, None, layer)


def test_a_layer_the_class_does_not_depend_on_has_no_heat() -> None:
    class Aside(Toy):
        def forward(self, images: Tensor) -> Tensor:
            self.conv(images)
            return images.mean((2, 3)).repeat(1, 2)

    model = Suspect(Aside(), num_classes=2, input_shape=(1, 4, 4))
    assert grad_cam(model, toy()[1], None, "conv").max() == 0


def test_a_network_that_overflows_has_no_heat_rather_than_nan() -> None:
    model, image = toy()
    model.module.conv.weight.data *= 1e38  # type: ignore[union-attr, operator]
    assert np.isfinite(grad_cam(model, image * 100, torch.tensor([0]), "conv")).all()
