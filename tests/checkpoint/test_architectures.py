"""From a state dict to its network: by name, by signature, by factory; and every way to refuse."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from auditor.checkpoint import libraries, nets, signatures
from auditor.checkpoint.architectures import AmbiguousArchitectureError, build
from auditor.checkpoint.factory import from_factory
from auditor.checkpoint.loading import shapes_of
from auditor.errors import InputError, UnknownArchitectureError, UsageError

LIGHT = ("resnet18", "squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5", "mnasnet0_5", "densenet121")


def torchvision_model(name: str, num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return libraries.make(f"torchvision:{name}", num_classes, in_channels).eval()


def meta_state(name: str) -> dict[str, tuple[int, ...]]:
    return shapes_of(libraries.on_meta(lambda: libraries.make(name, 10)))


@pytest.mark.parametrize("name", LIGHT)
def test_torchvision_networks_are_found_by_their_signature(name: str) -> None:
    original = torchvision_model(name, num_classes=7)
    built = build(original.state_dict())
    images = torch.rand(1, 3, 64, 64)
    assert (built.name, built.how, built.num_classes) == (f"torchvision:{name}", "inferred", 7)
    assert built.input_shape == (3, 224, 224)
    assert not built.module.training
    with torch.no_grad():
        torch.testing.assert_close(built.module(images), original(images))


def test_the_index_knows_every_torchvision_classifier() -> None:
    indexed = {name for _, groups in signatures.index().entries.values() for group in groups for name in group}
    assert {f"torchvision:{name}" for name in libraries.torchvision_names()} <= indexed
    assert sum(name.startswith("timm:") for name in indexed) >= 150


@pytest.mark.parametrize("name", ["torchvision:vit_b_16", "torchvision:convnext_tiny", "torchvision:swin_t",
                                  "torchvision:efficientnet_b3", "timm:efficientnet_b0", "timm:vit_tiny_patch16_224",
                                  "timm:resnet50d"])  # fmt: skip
def test_the_committed_index_agrees_with_the_installed_libraries(name: str) -> None:
    found = signatures.index().lookup(meta_state(name))
    assert any(name in group for match in found for group in match.groups)


@pytest.mark.parametrize("auxiliary", [True, False])
def test_googlenet_is_found_with_and_without_its_auxiliary_heads(auxiliary: bool) -> None:
    module = libraries.on_meta(lambda: libraries.make("torchvision:googlenet", 10, auxiliary=auxiliary))
    assert [match.groups[0][0] for match in signatures.index().lookup(shapes_of(module))] == ["torchvision:googlenet"]


def test_same_function_under_two_names_is_torchvision_and_says_so() -> None:
    built = build(torchvision_model("resnet18").state_dict())
    assert built.name == "torchvision:resnet18"
    assert any("timm:resnet18" in note and "same function" in note for note in built.notes)


def test_grey_input_and_missing_counters_are_read_from_the_weights() -> None:
    original = torchvision_model("resnet18", 5, in_channels=1)
    state = {key: value.half() if value.is_floating_point() else value for key, value in original.state_dict().items()}
    state = {key: value for key, value in state.items() if "num_batches_tracked" not in key}
    built = build(state, input_size=32)
    assert built.input_shape == (1, 32, 32)
    assert all(value.dtype == torch.float32 for value in built.module.parameters())
    assert torch.equal(built.module.state_dict()["conv1.weight"], state["conv1.weight"].float())


def test_cifar_stem_under_torchvision_keys_is_read_as_stride_one() -> None:
    # Given torchvision's ResNet-18 as people change it for 32 x 32 images
    original = torchvision_model("resnet18")
    original.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    original.maxpool = nn.Identity()
    # When only its state dict arrives
    built = build(original.state_dict())
    # Then the same function is rebuilt
    images = torch.rand(2, 3, 32, 32)
    assert built.name == "cifar:resnet18"
    assert any("stride 1" in note for note in built.notes)
    with torch.no_grad():
        torch.testing.assert_close(built.module(images), original(images))


def test_a_head_behind_dropout_is_renamed_and_mapped_back() -> None:
    original = torchvision_model("resnet18")
    original.fc = nn.Sequential(nn.Dropout(), nn.Linear(512, 4))
    built = build(original.state_dict())
    assert built.num_classes == 4
    assert dict(built.keys) == {"fc.weight": "fc.1.weight", "fc.bias": "fc.1.bias"}


def test_position_embeddings_tell_the_image_size() -> None:
    small = libraries.make("timm:vit_tiny_patch16_224", 10, image_size=64).eval()
    built = build(small.state_dict(), arch="timm:vit_tiny_patch16_224")
    assert built.input_shape == (3, 64, 64)
    assert build(small.state_dict(), hints={"architecture": "vit_tiny_patch16_224"}).num_classes == 10
    with pytest.raises(UsageError, match="64"):
        build(small.state_dict(), arch="timm:vit_tiny_patch16_224", input_size=224)


def test_an_input_size_hint_is_a_default_that_the_person_overrides() -> None:
    state = torchvision_model("resnet18").state_dict()
    hinted = build(state, hints={"input_size": [3, 32, 32]})
    assert hinted.input_shape == (3, 32, 32)
    assert any("hint" in note for note in hinted.notes)
    assert build(state, hints={"input_size": [3, 32, 32]}, input_size=48).input_shape == (3, 48, 48)


def test_different_functions_with_the_same_shapes_need_a_hint_or_a_name() -> None:
    # timm's efficientnet_b0 and tf_efficientnet_b0 pad differently under the same keys
    torch.manual_seed(0)
    state = libraries.make("timm:tf_efficientnet_b0", 10).state_dict()
    with pytest.raises(AmbiguousArchitectureError) as caught:
        build(state, input_size=64)
    assert {"timm:efficientnet_b0", "timm:tf_efficientnet_b0"} <= set(caught.value.candidates)
    assert "--arch timm:" in caught.value.next_step
    assert caught.value.exit_code == 3
    hinted = build(state, input_size=64, hints={"architecture": "tf_efficientnet_b0.ns_jft"})
    assert hinted.name == "timm:tf_efficientnet_b0"


def test_a_hint_never_forces_an_architecture() -> None:
    built = build(nets.create("resnet20", 10).state_dict(), hints={"architecture": "resnet50", "model_name": "vgg16"})
    assert built.name == "cifar:resnet20"


def test_a_given_name_is_loaded_strictly() -> None:
    state = nets.create("preact_resnet18", 10, width=8).state_dict()
    built = build(state, arch="cifar:preact_resnet18", num_classes=10)
    assert (built.how, built.name, built.input_shape) == ("given", "cifar:preact_resnet18", (3, 32, 32))


def test_a_given_name_that_does_not_fit_counts_the_difference_and_names_what_fits() -> None:
    state = nets.create("resnet20", 10).state_dict()
    with pytest.raises(UnknownArchitectureError, match=r"\d+ missing, \d+ unexpected, \d+ of another shape") as caught:
        build(state, arch="cifar:resnet32")
    assert "--arch cifar:resnet20" in caught.value.next_step
    with pytest.raises(UnknownArchitectureError, match="torchvision:resnet18"):
        build(state, arch="torchvision:resnet18")


@pytest.mark.parametrize("name", ["cifar:resnet21", "torchvision:resnet19", "resnet18", "timm:", "nowhere:x",
                                  "timm:hf-hub:someone/model", "timm:local-dir:/tmp/x", "timm:../../x", "a\x1b[2Jb",
                                  "timm:hf_hub:x", "cifar:wide_resnet999_99"])  # fmt: skip
def test_unknown_names_are_usage_errors_without_terminal_escapes(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(nets.create("resnet20", 10).state_dict(), arch=name)
    assert "\x1b" not in str(caught.value)


def test_close_names_are_offered() -> None:
    with pytest.raises(UsageError) as caught:
        build(nets.create("resnet20", 10).state_dict(), arch="cifar:preactresnet18")
    assert "cifar:preact_resnet18" in caught.value.next_step


def test_a_wrong_class_count_is_an_input_error() -> None:
    with pytest.raises(InputError, match="Wrong class count") as caught:
        build(nets.create("resnet20", 10).state_dict(), num_classes=100)
    assert caught.value.exit_code == 2
    with pytest.raises(UnknownArchitectureError, match="two or more"):
        build(nets.create("resnet20", 1).state_dict())


def test_an_unknown_network_names_its_nearest_with_counts() -> None:
    state = dict(torchvision_model("resnet18").state_dict())
    state["layer5.weight"] = torch.zeros(3, 3)
    del state["bn1.bias"]
    with pytest.raises(UnknownArchitectureError) as caught:
        build(state)
    assert "resnet18 (1 missing, 1 unexpected, 0 of another shape" in caught.value.next_step
    assert "--factory" in caught.value.next_step


@pytest.mark.parametrize(("keys", "kind"), [
    ({"rpn.head.conv.weight": (4, 4, 3, 3), "backbone.body.conv1.weight": (4, 3, 7, 7)}, "object detector"),
    ({"transformer.encoder.x.weight": (4, 4), "class_embed.weight": (92, 256)}, "object detector"),
    ({"backbone.conv1.weight": (4, 3, 7, 7), "classifier.4.weight": (21, 4, 1, 1)}, "segmentation model"),
    ({"backbone.conv1.weight": (4, 3, 7, 7), "aux_classifier.0.weight": (4, 4, 3, 3)}, "segmentation model"),
    ({"visual.conv1.weight": (4, 3, 32, 32), "token_embedding.weight": (9, 4)}, "several inputs"),
    ({"text_model.x.weight": (4, 4), "vision_model.y.weight": (4, 4)}, "several inputs"),
    ({"model.embed_tokens.weight": (9, 4), "lm_head.weight": (9, 4)}, "language model"),
])  # fmt: skip
def test_models_that_are_no_classifiers_are_told_so(keys: dict[str, tuple[int, ...]], kind: str) -> None:
    with pytest.raises(UnknownArchitectureError, match=kind) as caught:
        build({key: torch.zeros(shape) for key, shape in keys.items()})
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("state", [{}, {"a": torch.zeros(3)}, {"x\x1b[2J.weight": torch.zeros(2, 2)}])
def test_nothing_that_could_be_a_network_is_one_clear_error(state: dict[str, Tensor]) -> None:
    with pytest.raises(UnknownArchitectureError) as caught:
        build(state)
    assert "\x1b" not in str(caught.value)


def test_integer_weights_are_called_quantised() -> None:
    state = {key: (value * 10).to(torch.int8) for key, value in nets.create("resnet20", 10).state_dict().items()}
    with pytest.raises(UnknownArchitectureError, match="quantised"):
        build(state)


def test_huge_claims_do_not_allocate_a_huge_network() -> None:
    # A 100,000-channel stem with the rest tiny would ask for hundreds of gigabytes if built before comparing
    state = dict(nets.create("resnet20", 10, width=2).state_dict())
    for key in ("conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"):
        state[key] = torch.zeros(100_000, *state[key].shape[1:])
    with pytest.raises(UnknownArchitectureError):
        build(state)


def test_building_leaves_the_global_random_state_alone() -> None:
    state = nets.create("resnet20", 10).state_dict()
    before = torch.get_rng_state()
    build(state)
    build(torchvision_model_state := torchvision_state(), arch="torchvision:squeezenet1_1")
    assert len(torchvision_model_state) > 0
    assert torch.equal(before, torch.get_rng_state())


def torchvision_state() -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        return dict(torchvision_model("squeezenet1_1").state_dict())


FACTORY = """
import torch
def make(num_classes):
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
                               torch.nn.Linear(4, num_classes))
def plain(): return make(6)
def number(): return 7
def fails(): raise KeyError("no\\x1b[2J such thing")
def leaves(): raise SystemExit(0)
"""


@pytest.fixture
def factory_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FACTORY)
    return path


def custom_state() -> dict[str, Tensor]:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6))
    return dict(module.state_dict())


def test_a_factory_runs_only_when_code_is_allowed(factory_file: Path) -> None:
    with pytest.raises(UsageError) as caught:
        from_factory(f"{factory_file}:plain", custom_state(), allow_code=False)
    assert "--allow-code" in caught.value.next_step
    built = from_factory(f"{factory_file}:plain", custom_state(), allow_code=True)
    assert (built.how, built.num_classes, built.input_shape) == ("factory", 6, (3, 32, 32))


def test_a_factory_gets_the_class_count_it_asks_for(factory_file: Path) -> None:
    built = from_factory(f"{factory_file}:make", custom_state(), allow_code=True, num_classes=6, input_size=16)
    assert built.input_shape == (3, 16, 16)
    with pytest.raises(UsageError, match="number of classes"):
        from_factory(f"{factory_file}:make", custom_state(), allow_code=True)


@pytest.mark.parametrize(("callable_name", "error"), [
    ("number", UsageError), ("fails", UsageError), ("leaves", UsageError), ("absent", UsageError), ("", UsageError),
    ("a.b", UsageError),
])  # fmt: skip
def test_bad_factories_are_one_clear_error(factory_file: Path, callable_name: str, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        from_factory(f"{factory_file}:{callable_name}", custom_state(), allow_code=True)
    assert "\x1b" not in str(caught.value)


def test_a_factory_by_module_name_and_a_missing_one(tmp_path: Path) -> None:
    state = torchvision_state()
    built = from_factory("torchvision.models:squeezenet1_1", state, allow_code=True, num_classes=10, input_size=64)
    assert built.num_classes == 10
    with pytest.raises(UsageError, match="imported"):
        from_factory("no_such_package_here:make", state, allow_code=True)
    with pytest.raises(InputError, match="no file"):
        from_factory(f"{tmp_path / 'gone.py'}:make", state, allow_code=True)


def test_weights_that_do_not_fit_a_factory_module_count_the_difference(factory_file: Path) -> None:
    with pytest.raises(UnknownArchitectureError, match=r"0 missing, 0 unexpected, 2 of another shape"):
        from_factory(f"{factory_file}:make", custom_state(), allow_code=True, num_classes=3)
