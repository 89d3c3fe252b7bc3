"""Exported files: they say what the suspect says, nothing about this machine, and appear whole or not at all."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import onnx
import pytest
import torch
import torchvision  # type: ignore[import-untyped]
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from auditor import exporting
from auditor.checkpoint import nets
from auditor.domain import Rate
from auditor.errors import OutputError, UsageError
from auditor.exporting import ONNX_TOLERANCE, Parity, describe, export_onnx, export_safetensors, onnx_parity
from auditor.exporting.hushing import hushed
from auditor.metrics import wilson
from auditor.suspect import Suspect

Spread = tuple[float, ...]
CIFAR10: tuple[Spread, Spread] = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


class Toy(nn.Module):
    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.norm(self.conv(x)).relu().mean((2, 3)))
        return logits


def toy(channels: int = 3) -> Suspect:
    torch.manual_seed(0)
    module = Toy(channels)
    module.norm.running_mean = torch.linspace(-0.5, 0.5, 4)
    module.norm.running_var = torch.linspace(0.5, 2, 4)
    mean, std = CIFAR10 if channels == 3 else ((0.3,), (0.25,))
    return Suspect(module, num_classes=5, input_shape=(channels, 9, 9), mean=mean, std=std)


@pytest.fixture(scope="module")
def toy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toy") / "toy.onnx"
    export_onnx(toy(), path, metadata={"auditor.audited": "true"})
    return path


def images(suspect: Suspect, count: int = 12) -> Tensor:
    return torch.rand(count, *suspect.input_shape, generator=torch.Generator().manual_seed(1))


def spread_out(module: nn.Module) -> nn.Module:
    """Random weights whose logits differ enough to compare: fresh ones are nearly all alike."""
    torch.manual_seed(3)
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
        if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None and part.running_var is not None:
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.8, 1.2)
    return module


# --- ONNX: what it says ---------------------------------------------------------------------


def test_the_file_gives_the_suspects_logits_for_any_batch(toy_file: Path) -> None:
    suspect = toy()
    for count in (1, 2, 8, 41):
        parity = onnx_parity(suspect, toy_file, images(suspect, count))
        assert parity.max_abs_logit_difference < 1e-5
        assert (parity.argmax_agreement.hits, parity.argmax_agreement.total) == (count, count)
        assert parity.holds


# The deep ones of a family add minutes and no new operator.
@pytest.mark.parametrize("name", ["resnet20", "preact_resnet18", "vgg11_bn"])
def test_our_own_networks_export(name: str, tmp_path: Path) -> None:
    module = spread_out(nets.create(name, 10, width=8 if "resnet18" in name else 0))
    check_exports(module, 10, 32, tmp_path)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_torchvision_networks_export(name: str, tmp_path: Path) -> None:
    module = spread_out(getattr(torchvision.models, name)(weights=None, num_classes=7))
    check_exports(module, 7, 64, tmp_path)


def check_exports(module: nn.Module, classes: int, side: int, tmp_path: Path) -> None:
    suspect = Suspect(module, num_classes=classes, input_shape=(3, side, side), mean=CIFAR10[0], std=CIFAR10[1])
    path = tmp_path / "net.onnx"
    export_onnx(suspect, path, metadata={})
    given = images(suspect, 9)
    assert suspect.logits(given).std() > 0.01, "the comparison would be empty"
    assert onnx_parity(suspect, path, given).holds


def test_embedded_preprocessing_takes_images_in_0_1(tmp_path: Path) -> None:
    for suspect in (toy(), toy(channels=1)):
        path = tmp_path / "front.onnx"
        export_onnx(suspect, path, metadata={}, embed_preprocessing=True)
        assert onnx_parity(suspect, path, images(suspect), embed_preprocessing=True).holds
        # When fed normalised images, the same file is wrong: parity can fail.
        assert not onnx_parity(suspect, path, images(suspect)).holds


def test_parity_fails_on_another_network(toy_file: Path) -> None:
    other = toy()
    with torch.no_grad():
        other.module.get_parameter("linear.bias").add_(torch.tensor([0.0, 0.0, 5.0, 0.0, 0.0]))
    parity = onnx_parity(other, toy_file, images(other))
    assert parity.max_abs_logit_difference == pytest.approx(5.0, abs=1e-4)
    assert not parity.holds


def test_parity_fails_when_logits_are_not_numbers(tmp_path: Path) -> None:
    suspect = toy()
    with torch.no_grad():
        suspect.module.get_parameter("linear.bias")[1] = float("nan")
    export_onnx(suspect, tmp_path / "nan.onnx", metadata={})
    parity = onnx_parity(suspect, tmp_path / "nan.onnx", images(suspect))
    assert parity.max_abs_logit_difference == float("inf")
    assert not parity.holds


def test_parity_holds_up_to_the_tolerance_and_only_when_every_class_agrees() -> None:
    def parity(difference: float, agreement: Rate) -> bool:
        return Parity(max_abs_logit_difference=difference, argmax_agreement=agreement).holds

    assert parity(ONNX_TOLERANCE, wilson(5, 5))
    assert not parity(ONNX_TOLERANCE * 1.01, wilson(5, 5))
    assert not parity(0.0, wilson(4, 5))
    assert not parity(0.0, wilson(0, 0))


def test_the_tolerance_grows_only_with_logits_beyond_the_ordinary() -> None:
    def parity(largest: float) -> Parity:
        return Parity(max_abs_logit_difference=0.0, argmax_agreement=wilson(1, 1), largest_logit=largest)

    assert parity(30).tolerance == parity(100).tolerance == ONNX_TOLERANCE
    assert parity(10_000).tolerance == pytest.approx(0.1)


def test_parity_needs_images_and_a_file_that_runs(toy_file: Path, tmp_path: Path) -> None:
    suspect = toy()
    with pytest.raises(UsageError):
        onnx_parity(suspect, toy_file, images(suspect, 0))
    (tmp_path / "not.onnx").write_bytes(b"\x08\x01 nothing")
    with pytest.raises(OutputError, match="onnxruntime"):
        onnx_parity(suspect, tmp_path / "not.onnx", images(suspect))
    with pytest.raises(OutputError, match="onnxruntime"):
        onnx_parity(toy(channels=1), toy_file, images(toy(channels=1)))


# --- ONNX: how it is written ----------------------------------------------------------------


def test_the_interface_is_input_to_logits_with_an_open_batch(toy_file: Path) -> None:
    model = onnx.load(toy_file)
    onnx.checker.check_model(model, full_check=True)
    (given,), (answered,) = model.graph.input, model.graph.output
    assert (given.name, answered.name) == ("input", "logits")
    batch, *sides = given.type.tensor_type.shape.dim
    assert batch.dim_param and [side.dim_value for side in sides] == [3, 9, 9]
    assert answered.type.tensor_type.shape.dim[0].dim_param == batch.dim_param
    assert given.type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_one_file_that_says_nothing_about_this_machine(toy_file: Path) -> None:
    assert [entry.name for entry in toy_file.parent.iterdir()] == ["toy.onnx"]
    content = toy_file.read_bytes()
    for telling in (str(Path(exporting.__file__).parents[2]), torch.__file__, "stack_trace", ".py", "Toy"):
        assert telling.encode() not in content


def test_the_same_weights_give_the_same_bytes(toy_file: Path, tmp_path: Path) -> None:
    export_onnx(toy(), tmp_path / "again.onnx", metadata={"auditor.audited": "true"})
    assert (tmp_path / "again.onnx").read_bytes() == toy_file.read_bytes()


def test_metadata_carry_provenance_on_one_line(tmp_path: Path) -> None:
    suspect = toy()
    hostile = {"name": "cat\x1b[31m\n\u202edog", "long": "y" * 5000, "auditor.input": "a lie", "bad\nkey": "\udc80"}
    export_onnx(suspect, tmp_path / "m.onnx", metadata={"auditor.sha256": "ab" * 32, **hostile})
    found = {entry.key: entry.value for entry in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert found["auditor.sha256"] == "ab" * 32
    assert found["name"] == "cat\ufffd[31m\ufffd\ufffddog"
    assert len(found["long"]) <= 1001
    assert found["bad\ufffdkey"] == "\ufffd"
    assert found["auditor.input"] == "(images in [0, 1] - mean) / std, NCHW"
    assert found["auditor.mean"] == "0.4914, 0.4822, 0.4465"
    export_onnx(suspect, tmp_path / "m.onnx", metadata={}, embed_preprocessing=True)
    found = {entry.key: entry.value for entry in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert found["auditor.input"] == "images in [0, 1], NCHW"


def test_the_suspect_is_left_as_it_was(tmp_path: Path) -> None:
    suspect = toy()
    before, modules = suspect.state(), [type(part) for part in suspect.module.modules()]
    export_onnx(suspect, tmp_path / "net.onnx", metadata={})
    export_safetensors(suspect, tmp_path / "net.safetensors", metadata={})
    after = suspect.module.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert [type(part) for part in suspect.module.modules()] == modules
    assert not suspect.module.training
    assert not any(parameter.requires_grad for parameter in suspect.module.parameters())
    assert torch.is_grad_enabled()
    assert suspect.meter.forward_images == 0


def test_another_process_writes_the_same_bytes_and_prints_nothing(toy_file: Path, tmp_path: Path) -> None:
    script = (
        "import sys, pathlib, torch, test_exporting as t\n"
        "s = t.toy(); p = pathlib.Path(sys.argv[1])\n"
        "t.export_onnx(s, p, metadata={'auditor.audited': 'true'})\n"
        "t.onnx_parity(s, p, t.images(s))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", script, str(tmp_path / "net.onnx")],
        check=False, capture_output=True, text=True, cwd=Path(__file__).parent, timeout=300,
        env={**os.environ, "PYTHONPATH": f"{Path(__file__).parents[1]}{os.pathsep}{Path(__file__).parent}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr == ""
    assert (tmp_path / "net.onnx").read_bytes() == toy_file.read_bytes()


class Undecided(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :2] if float(x.sum()) > 0 else x.flatten(1)[:, 2:4]


class Fixed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, -1)[:, :3]


@pytest.mark.parametrize("module", [Undecided(), Fixed()], ids=["data-dependent", "fixed-batch"])
def test_a_network_that_onnx_cannot_express_is_one_clear_error(
    module: nn.Module, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    suspect = Suspect(module, num_classes=2, input_shape=(1, 4, 4))
    with pytest.raises(OutputError, match="cannot be written as ONNX") as caught:
        export_onnx(suspect, tmp_path / "net.onnx", metadata={})
    assert "\n" not in caught.value.what
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_a_target_that_cannot_be_written_keeps_what_was_there(tmp_path: Path) -> None:
    suspect = toy()
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(OutputError):
        export_safetensors(suspect, tmp_path / "folder.safetensors", metadata={})
    with pytest.raises(OutputError):
        export_safetensors(suspect, tmp_path / "absent" / "net.safetensors", metadata={})
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder.safetensors"]


def test_a_link_at_the_target_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "net.safetensors").symlink_to(tmp_path / "precious")
    export_safetensors(toy(), tmp_path / "net.safetensors", metadata={})
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (tmp_path / "net.safetensors").is_symlink()


# --- safetensors ----------------------------------------------------------------------------


def test_safetensors_keep_the_suspects_keys_and_values(tmp_path: Path) -> None:
    suspect = toy()
    keys = {"conv.weight": "module.features.0.weight", "linear.bias": "head/\u00e4.bias"}
    export_safetensors(suspect, tmp_path / "net.safetensors", keys=keys, metadata={"b": "1", "a": "x\ny"})
    found, own = load_file(tmp_path / "net.safetensors"), suspect.module.state_dict()
    assert set(found) == {keys.get(name, name) for name in own}
    assert all(torch.equal(found[keys.get(name, name)], own[name]) for name in own)
    with safe_open(tmp_path / "net.safetensors", "pt") as stored:
        assert stored.metadata() == {"a": "x\ufffdy", "b": "1"}


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4, bias=False)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight
        self.turned = nn.Parameter(torch.arange(6.0).view(2, 3).t())

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.second(self.first(x.flatten(1)))
        return logits


def test_shared_and_strided_tensors_are_written_in_full(tmp_path: Path) -> None:
    suspect = Suspect(Tied(), num_classes=4, input_shape=(1, 2, 2))
    export_safetensors(suspect, tmp_path / "net.safetensors", metadata={})
    found = load_file(tmp_path / "net.safetensors")
    assert torch.equal(found["first.weight"], found["second.weight"])
    assert torch.equal(found["turned"], torch.arange(6.0).view(2, 3).t())
    # Tied in the file too: two names, one tensor.
    keys = {"first.weight": "tied", "second.weight": "tied"}
    export_safetensors(suspect, tmp_path / "tied.safetensors", keys=keys, metadata={})
    assert set(load_file(tmp_path / "tied.safetensors")) == {"tied", "turned"}


def test_keys_that_cannot_be_stored_are_refused(tmp_path: Path) -> None:
    suspect, path = toy(), tmp_path / "net.safetensors"
    clash = {"conv.bias": "same", "norm.bias": "same"}
    for keys in ({"conv.bias": "__metadata__"}, {"conv.bias": "\ud800"}, clash):
        with pytest.raises(OutputError):
            export_safetensors(suspect, path, keys=keys, metadata={})
    assert list(tmp_path.iterdir()) == []


def test_safetensors_bytes_are_the_same_every_time(tmp_path: Path) -> None:
    metadata = {f"key{i}": str(i) for i in range(20)}
    contents = set()
    for i in range(5):
        export_safetensors(toy(), tmp_path / f"{i}.safetensors", metadata=metadata)
        contents.add((tmp_path / f"{i}.safetensors").read_bytes())
    (content,) = contents
    length = int.from_bytes(content[:8], "little")
    assert length % 8 == 0
    assert json.loads(content[8 : 8 + length])["__metadata__"] == metadata


# --- describing and hushing -----------------------------------------------------------------


def test_describe_names_the_file_and_what_was_measured(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"abc")
    parity = Parity(max_abs_logit_difference=1e-6, argmax_agreement=wilson(3, 3))
    export = describe(tmp_path / "net.onnx", "onnx", parity, root=tmp_path)
    assert (export.path, export.format, export.bytes) == ("net.onnx", "onnx", 3)
    assert export.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert (export.max_abs_logit_difference, export.argmax_agreement) == (1e-6, wilson(3, 3))
    assert describe(tmp_path / "net.onnx", "onnx").path == str(tmp_path / "net.onnx")
    with pytest.raises(OutputError):
        describe(tmp_path / "absent.onnx", "onnx")


def test_hushing_silences_this_thread_alone(capsys: pytest.CaptureFixture[str]) -> None:
    entered, written = threading.Event(), threading.Event()

    def other() -> None:
        entered.wait(5)
        sys.stderr.write("progress")
        written.set()

    thread = threading.Thread(target=other)
    thread.start()
    with hushed():
        entered.set()
        assert written.wait(5)
        sys.stdout.write("chatter")
        logging.getLogger("torch.onnx").error("chatter")
    thread.join()
    sys.stdout.write("after")
    assert capsys.readouterr() == ("after", "progress")
    assert logging.root.manager.disable == logging.NOTSET


def test_hushing_ends_with_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), hushed():
        raise KeyError
    sys.stdout.write("heard")
    assert capsys.readouterr().out == "heard"
