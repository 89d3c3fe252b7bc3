"""Honest checkpoints of every kind through the whole gate, compared with what torch itself reads."""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from auditor.checkpoint import manifest
from auditor.checkpoint.child import __file__ as child_init
from auditor.checkpoint.gate import inspect_file, open_checkpoint
from auditor.checkpoint.sniff import sniff
from auditor.errors import AuditorError, BrokenCheckpointError, InputError, OutputError

ZOO = Path(__file__).resolve().parents[2].parent / "shared" / "zoo"
REAL = sorted([*ZOO.glob("raw/*.th"), *ZOO.glob("*/model.pt"), *ZOO.glob("bases/*/model.pt")])


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 10))


def test_a_training_checkpoint_opens_with_its_weights_exact(tmp_path: Path) -> None:
    # Given what a training script saves: wrapper, DataParallel names, optimizer, configuration, odd types
    net = network()
    path = tmp_path / "best.bin"
    wrapped = {f"module.{key}": value for key, value in net.state_dict().items()}
    wrapped["module.0.weight"] = wrapped["module.0.weight"].to(memory_format=torch.channels_last).double()
    scores = defaultdict(list, {"val": [1.0]})
    namespace = argparse.Namespace(arch="tiny", num_classes=10, path=Path("x"))
    optimizer = {"state": {0: {"momentum_buffer": torch.ones(4)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    torch.save(
        {"state_dict": wrapped, "args": namespace, "acc": np.float64(0.5), "scores": scores,
         "optimizer": optimizer, "epoch": 3}, path
    )  # fmt: skip

    opened = open_checkpoint(path)

    assert opened.wrapper == ("state_dict",)
    assert opened.original_key("0.weight") == "module.0.weight"
    assert opened.dtypes["0.weight"] == "float64"
    assert opened.hints == {"architecture": "tiny", "num_classes": 10}
    assert opened.artifact.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert opened.file_safety.status == "findings"
    assert {"argparse.Namespace", "collections.defaultdict"} <= set(opened.file_safety.stubbed)
    for key, value in net.state_dict().items():
        torch.testing.assert_close(opened.state[key], value, rtol=0, atol=0)
        assert opened.state[key].is_contiguous()
    net.load_state_dict(opened.state)


def test_a_whole_pickled_network_gives_up_its_weights_only(tmp_path: Path) -> None:
    net, path = network(), tmp_path / "model.pt"
    torch.save(net, path)

    opened = open_checkpoint(path)

    assert opened.hints["module_class"] == "torch.nn.modules.container.Sequential"
    assert list(opened.state) == list(net.state_dict())
    assert torch.equal(opened.state["3.weight"], net.state_dict()["3.weight"])


def test_a_legacy_file_with_shared_and_half_weights_opens(tmp_path: Path) -> None:
    weight, path = torch.randn(4, 6), tmp_path / "old.th"
    state = {"a": weight, "b": weight[1:, ::2], "c": weight.half(), "d": torch.tensor([float("nan")]),
             "bn.running_var": torch.tensor([-1.0]), "n": torch.tensor(3)}  # fmt: skip
    torch.save(state, path, _use_new_zipfile_serialization=False)

    opened = open_checkpoint(path)

    assert opened.artifact.format == "pytorch_legacy"
    assert torch.equal(opened.state["b"], weight[1:, ::2])
    assert torch.equal(opened.state["c"], weight.half().float())
    assert opened.dtypes["c"] == "float16"
    assert opened.state["n"].dtype == torch.int64
    assert [finding.kind for finding in opened.file_safety.findings] == ["non_finite_weights"] * 2


def test_a_safetensors_file_opens_whatever_its_name_and_survives_its_removal(tmp_path: Path) -> None:
    path, weight = tmp_path / "model.pt", torch.randn(10, 4).bfloat16()
    save_file({"model.fc.weight": weight}, path, metadata={"arch": "tiny", "num_classes": "10"})

    opened = open_checkpoint(path, workdir=tmp_path)
    path.unlink()

    assert list(tmp_path.iterdir()) == []
    assert opened.hints == {"architecture": "tiny", "num_classes": 10}
    assert opened.file_safety.status == "safe"
    assert torch.equal(opened.state["fc.weight"], weight.float())


def test_inspect_lists_tensors_and_imports_without_deserializing(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"state_dict": network().state_dict(), "args": argparse.Namespace()}, path)

    artifact, safety, details = inspect_file(path)

    assert artifact.bytes == path.stat().st_size
    assert safety.stubbed == ["argparse.Namespace"]
    assert {"name": "state_dict.0.weight", "shape": [4, 3, 3, 3], "dtype": "float32"} in details["tensors"]
    assert details["imports"]["torch._utils._rebuild_tensor_v2"] == "allowed"
    assert ["data.pkl", details["pickle_bytes"]] in details["members"]


def test_paths_that_cannot_be_read_are_input_errors(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "absent.pt", tmp_path, tmp_path / "pipe", Path("a\0b")):
        with pytest.raises(InputError) as caught:
            open_checkpoint(path)
        assert caught.value.exit_code == 2
        assert caught.value.next_step


def test_an_empty_file_is_broken(tmp_path: Path) -> None:
    (tmp_path / "model.pt").touch()
    for read in (sniff, open_checkpoint, inspect_file):
        with pytest.raises(BrokenCheckpointError, match="is empty"):
            read(tmp_path / "model.pt")


def test_a_working_folder_that_is_not_there_is_an_output_error(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"a": torch.ones(2)}, path)

    with pytest.raises(OutputError):
        open_checkpoint(path, workdir=tmp_path / "absent")


ANSWER: dict[str, Any] = {
    "tensors": 1, "stubbed": [], "findings": [], "dtypes": {"a": "float32"}, "hints": {}, "prefix": "", "path": [],
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"tensors": True},
        {"tensors": -1},
        {"stubbed": "x"},
        {"stubbed": [1]},
        {"findings": [["danger", "x", "y"]]},
        {"findings": [["info", "not_a_kind", "y"]]},
        {"dtypes": {}},
        {"dtypes": {"a\x1b": "float32"}},
        {"dtypes": {"a": ["float32"]}},
        {"hints": {"unknown": 1}},
        {"hints": {"num_classes": "10"}},
        {"hints": {"mean": [float("inf")]}},
        {"prefix": None},
        {"prefix": "x" * 1000},
        {"path": [["a"]]},
        {"refused": {"kind": "other"}},
        {"refused": "x"},
    ],
)
def test_an_answer_of_the_wrong_shape_is_not_believed(change: dict[str, Any]) -> None:
    assert manifest.read_opened(ANSWER).dtypes == {"a": "float32"}
    with pytest.raises(AuditorError):
        answer = ANSWER | change
        manifest.read_refusal(answer)
        manifest.read_opened(answer)


def test_the_child_leaves_the_network_and_imports_nothing_of_ours() -> None:
    script = (
        "import sys, runpy, pathlib, socket; sys.argv = ['x', '{}'];"
        f"main = runpy.run_path({str(Path(child_init).with_name('__main__.py'))!r});"
        "main['_become_package']();"
        "import child.work, child.static, child.unwrap, child.hints; child.work.sandbox.isolate();"
        "names = {m.partition('.')[0] for m in sys.modules};"
        "print(sorted(names & {'auditor', 'torch', 'numpy'}), len(socket.if_nameindex()))"
    )

    out = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True).stdout

    ours, _, interfaces = out.strip().rpartition(" ")
    assert ours == "[]"
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("network namespaces are not available here")
    assert interfaces == "1"


@pytest.mark.skipif(not REAL, reason="the shared zoo of real checkpoints is absent")
@pytest.mark.parametrize("path", REAL, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_real_checkpoints_are_told_statically_as_torch_loads_them(path: Path) -> None:
    saved = torch.load(path, map_location="cpu", weights_only=True)
    state = saved.get("state_dict", saved)

    _, safety, details = inspect_file(path)

    assert safety.status == "safe"
    shapes = {entry["name"].removeprefix("state_dict."): entry["shape"] for entry in details["tensors"]}
    assert shapes == {key: list(value.shape) for key, value in state.items()}


@pytest.mark.skipif(not REAL, reason="the shared zoo of real checkpoints is absent")
@pytest.mark.parametrize(
    "path", [*REAL[:1], *ZOO.glob("raw/*20*.th")], ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_real_checkpoints_open_exactly_as_torch_loads_them(path: Path) -> None:
    saved = torch.load(path, map_location="cpu", weights_only=True)
    state = saved.get("state_dict", saved)

    opened = open_checkpoint(path)

    assert [opened.original_key(key) for key in opened.state] == list(state)
    for key, value in opened.state.items():
        original = state[opened.original_key(key)]
        assert torch.equal(value, original.float() if original.is_floating_point() else original)
