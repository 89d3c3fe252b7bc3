"""Our own CIFAR networks: known parameter counts, reading from weights, and the real checkpoints."""

from __future__ import annotations

import json

import pytest
import torch
from real_networks import normalized_test_images, state_of, zoo
from torch import nn

from auditor.checkpoint import nets
from auditor.checkpoint.architectures import build
from auditor.checkpoint.loading import compare, shapes_of
from auditor.checkpoint.nets.densenet import DenseNet
from auditor.checkpoint.nets.mobilenet import MobileNetV2
from auditor.checkpoint.nets.preact_resnet import PreActResNet
from auditor.checkpoint.nets.resnet import ResNet, ZeroPadShortcut
from auditor.checkpoint.nets.vgg import VGG
from auditor.checkpoint.nets.wide_resnet import WideResNet

# Published sizes for ten classes (He et al. table 6; Zagoruyko table 4; Huang table 2; kuangliu's networks).
PARAMETERS = {
    "resnet20": 269_722, "resnet32": 464_154, "resnet56": 853_018, "resnet110": 1_727_962, "resnet18": 11_173_962,
    "resnet34": 21_282_122, "resnet50": 23_520_842, "preact_resnet18": 11_171_146, "wide_resnet28_10": 36_479_194,
    "wide_resnet40_2": 2_243_546, "vgg11_bn": 9_231_114, "vgg16_bn": 14_728_266, "vgg19_bn": 20_040_522,
    "mobilenet_v2": 2_296_922, "densenet121": 6_956_298, "densenet100": 769_162,
}  # fmt: skip


def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return nets.create(name, 10)


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_has_the_published_number_of_parameters(name: str, count: int) -> None:
    assert sum(p.numel() for p in on_meta(name).parameters()) == count


@pytest.mark.parametrize("name", nets.NAMES)
def test_every_standard_network_is_read_back_from_its_own_shapes(name: str) -> None:
    shapes = shapes_of(on_meta(name))
    fits = [p.name for p in nets.propose(shapes) if compare(shapes_of(_meta(p)), shapes).total == 0]
    assert fits == [name]


def _meta(proposal: nets.Proposal) -> nn.Module:
    with torch.device("meta"):
        return proposal.make()


def unusual() -> dict[str, nn.Module]:
    """Networks as people make them: other widths, heads, shortcuts, channels and class counts."""
    return {
        "resnet20": ResNet((3, 3, 3), (8, 16, 32), 7, 1, projection="downsample", head="fc"),
        "resnet18": ResNet((2, 2, 2, 2), (8, 16, 32, 64), 43, projection="downsample", head="fc", pool=2),
        "resnet50": ResNet((3, 4, 6, 3), (4, 8, 16, 32), 10, bottleneck=True),
        "preact_resnet18": PreActResNet((2, 2, 2, 2), (16, 32, 64, 128), 10, last_norm="bn"),
        "preact_resnet50": PreActResNet((3, 4, 6, 3), (4, 8, 16, 32), 5, bottleneck=True),
        "wide_resnet16_2": WideResNet((2, 2, 2), (8, 16, 32), 10, stem=4, unused_block=True),
        "vgg16_bn": VGG(((4, 4), (8, 8), (8,) * 3, (16,) * 3, (16,) * 3), 10, head=((1, 12), (4, 12), (6, 10))),
        "vgg11": VGG(((4,), (8,), (8, 8), (16, 16), (16, 16)), 10, 1, batch_norm=False, conv_bias=False),
        "mobilenet_v2": nets.create("mobilenet_v2", 11, 1, width=8),
        "densenet100": DenseNet((16, 16, 16), (20, 26), 8, 2, 8, 10, suffix="1", head="fc"),
    }


@pytest.mark.parametrize("name", unusual())
def test_width_classes_and_channels_come_from_the_weights(name: str) -> None:
    # Given a network of unusual widths with its own weights
    torch.manual_seed(0)
    original = unusual()[name].eval()
    # When it is rebuilt from the state dict alone
    built = build(original.state_dict())
    # Then it is the same function under the same keys
    images = torch.rand(2, *built.input_shape)
    assert built.name == f"cifar:{name}"
    assert list(built.module.state_dict()) == list(original.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(built.module(images), original(images))


def test_option_a_takes_every_second_pixel_and_pads_channels_on_both_sides() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4) + 1
    padded = ZeroPadShortcut(1, 5, 2)(x)
    assert padded.shape == (1, 5, 2, 2)
    assert padded[0, 2].tolist() == [[1.0, 3.0], [9.0, 11.0]]
    assert padded[0, [0, 1, 3, 4]].abs().sum() == 0


def test_mobilenet_strides_are_read_from_the_shortcuts() -> None:
    shapes = shapes_of(on_meta("mobilenet_v2"))
    module = next(p for p in nets.propose(shapes) if p.name == "mobilenet_v2").make()
    assert isinstance(module, MobileNetV2)
    strides = [layer.conv2.stride[0] for layer in module.layers]
    assert strides == [1, 1, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1]


@pytest.mark.parametrize("keys", [
    {"layer1.999999999999.conv1.weight": (4, 4, 3, 3), "layer2.0.conv1.weight": (4, 4, 3, 3)},
    {"features.0.weight": (0, 3, 3, 3), "classifier.weight": (10, 0)},
    {"features.99999999999999999999.weight": (4, 3, 3, 3), "features.0.weight": (4, 3, 3, 3)},
    {"features.\u0661.weight": (4, 3, 3, 3), "features.0.weight": (4, 3, 3, 3)},
    {f"layer{n}.0.conv1.weight": (4, 4, 3, 3) for n in range(1, 3000)},
    {"": (1,), ".": (1,), "layer1": (1,), "layer2": (1,), "conv1.weight": (4, 3, 3, 3), "bn1.weight": (4,)},
])  # fmt: skip
def test_hostile_key_lists_propose_nothing(keys: dict[str, tuple[int, ...]]) -> None:
    assert nets.propose({"conv1.weight": (4, 3, 3, 3), "bn1.weight": (4,), "linear.weight": (10, 4), **keys}) == []


@pytest.mark.skipif(not zoo(), reason="the shared zoo of real checkpoints is absent")
def test_real_checkpoints_load_strictly_and_reach_their_accuracy() -> None:
    images, labels = normalized_test_images(200)
    for path in zoo():
        built = build(state_of(path))
        meta = json.loads((path.parent / "meta.json").read_text()) if path.name == "model.pt" else {}
        expected = meta.get("accuracy", meta.get("accuracy_test", 0.92))
        with torch.no_grad():
            accuracy = (built.module(images).argmax(1).numpy() == labels).mean()
        assert built.how == "inferred"
        assert built.name == meta.get("architecture", f"cifar:{path.name.split('-')[0]}")
        assert abs(accuracy - expected) < 0.06, f"{path.parent.name}: {accuracy} against {expected}"
