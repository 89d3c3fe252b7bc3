"""Finding the weights in what training scripts save, and what files say about themselves."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest

from auditor.checkpoint.child.hints import gather
from auditor.checkpoint.child.refusal import Refusal
from auditor.checkpoint.child.stubs import Stub, make_stub
from auditor.checkpoint.child.unwrap import Weights, unwrap


class Weight:
    """Stands for a tensor: unwrapping looks at nothing but its number of dimensions."""

    def __init__(self, ndim: int = 1) -> None:
        self.ndim = ndim


CONV, FC = Weight(4), Weight(2)
STATE = {"conv.weight": CONV, "fc.weight": FC}


def find(root: Any) -> Weights:
    return unwrap(root, lambda value: isinstance(value, Weight))


def stub(name: str, **fields: Any) -> Stub:
    made: Stub = make_stub(name, "object")()
    made.__setstate__(fields)
    return made


def module(parameters: dict[str, Any] | None = None, **modules: Any) -> Stub:
    return stub("torchvision.models.resnet.ResNet", _parameters=parameters or {}, _buffers={}, _modules=modules)


@pytest.mark.parametrize("key", ["state_dict", "model", "net", "netC", "model_state_dict", "module", "unheard_of"])
def test_weights_are_found_under_any_wrapper(key: str) -> None:
    found = find({"epoch": 3, "optimizer": {"state": {"0": Weight()}}, key: OrderedDict(STATE)})

    assert found.state == STATE
    assert found.path == [key]


def test_wrappers_may_be_nested_and_hold_other_things() -> None:
    found = find({"best_acc": Weight(0), "model": "resnet18", "payload": {"state_dict": {"module": STATE}}})

    assert found.state == STATE
    assert found.path == ["payload", "state_dict", "module"]


def test_a_bare_state_dict_and_a_list_are_found() -> None:
    assert find(STATE).path == []
    assert find([STATE, 7]).path == ["0"]


def test_plain_weights_come_before_averaged_ones_which_are_named() -> None:
    averaged = {"conv.weight": Weight(4)}

    found = find({"state_dict_ema": averaged, "state_dict": STATE})

    assert found.state == STATE
    assert [kind for _, kind, _ in found.findings] == ["averaged_weights"]
    assert "state_dict_ema" in found.findings[0][2]


def test_averaged_weights_are_taken_when_there_are_no_others() -> None:
    found = find({"ema": STATE, "epoch": 1})

    assert found.path == ["ema"]
    assert "Only averaged" in found.findings[0][2]


def test_a_second_network_is_named_when_the_first_is_known_and_refused_otherwise() -> None:
    found = find({"netC": STATE, "netG": {"g.weight": Weight(4)}})
    assert found.path == ["netC"]
    assert [kind for _, kind, _ in found.findings] == ["other_weights"]

    with pytest.raises(Refusal, match="several networks: 'a', 'b'"):
        find({"a": STATE, "b": {"g.weight": Weight(4)}})


@pytest.mark.parametrize(
    ("keys", "prefix"),
    [
        (["module.conv.w", "module.fc.w"], "module."),
        (["_orig_mod.module.conv.w", "_orig_mod.module.fc.w"], "_orig_mod.module."),
        (["model.conv.w", "model.fc.w"], "model."),
        (["model.conv.w", "fc.w"], ""),
        (["features.conv.w", "features.fc.w"], ""),
    ],
)
def test_a_prefix_is_stripped_only_when_every_key_shares_it(keys: list[str], prefix: str) -> None:
    found = find(dict.fromkeys(keys, CONV))

    assert found.prefix == prefix
    assert [found.prefix + key for key in found.state] == keys


def test_an_averaged_model_loses_its_counter() -> None:
    found = find({"n_averaged": Weight(0), "module.conv.w": CONV})

    assert list(found.state) == ["conv.w"]


def test_a_pickled_module_gives_the_state_dict_it_would_have_had() -> None:
    batch_norm = module({"weight": FC})
    batch_norm.fields["_buffers"] = {"running_mean": CONV, "scratch": Weight()}
    batch_norm.fields["_non_persistent_buffers_set"] = {"scratch"}

    found = find({"model": module({"bias": None}, conv1=module({"weight": CONV}), bn1=batch_norm)})

    assert found.state == {"conv1.weight": CONV, "bn1.weight": FC, "bn1.running_mean": CONV}
    assert found.module_class == "torchvision.models.resnet.ResNet"


def test_modules_shared_without_end_are_refused() -> None:
    shared = module({"weight": CONV})
    for _ in range(40):
        shared = module({}, a=shared, b=shared)

    with pytest.raises(Refusal, match="more parts"):
        find(shared)


def test_containers_that_contain_themselves_end() -> None:
    loop: dict[str, Any] = {"epoch": 1}
    loop["model"] = loop

    with pytest.raises(Refusal, match="no named weights"):
        find(loop)


@pytest.mark.parametrize("root", [None, 3, {}, [], {"epoch": 1}, {"loss": Weight(0)}, {1: CONV}, Weight()])
def test_no_weights_is_a_refusal(root: Any) -> None:
    with pytest.raises(Refusal) as caught:
        find(root)
    assert caught.value.kind == "broken"


def test_names_that_hide_are_refused() -> None:
    with pytest.raises(Refusal, match="names that no network has"):
        find({"conv\x1b[2J.weight": CONV})


def test_hints_come_from_the_top_and_from_configurations() -> None:
    arguments = stub("argparse.Namespace", arch="vgg16", num_classes=7, dataset="gtsrb", lr=0.1)

    hints = gather({"arch": "resnet18", "args": arguments, "mean": [0.5, 0.5, 0.5], "std": 0.25, "input_size": 32})

    assert hints == {
        "architecture": "resnet18", "num_classes": 7, "dataset": "gtsrb",
        "mean": [0.5, 0.5, 0.5], "std": [0.25], "input_size": [32],
    }  # fmt: skip


@pytest.mark.parametrize(
    "value", [["cat", "dog"], ("cat", "dog"), {"dog": 1, "cat": 0}, {0: "cat", 1: "dog"}, '{"1": "dog", "0": "cat"}']
)
def test_class_names_are_read_in_index_order(value: Any) -> None:
    assert gather({"class_to_idx": value}) == {"class_names": ["cat", "dog"]}


@pytest.mark.parametrize(
    "root",
    [
        {"arch": "x" * 10_000},
        {"arch": "a\x1b[2J"},
        {"num_classes": -1},
        {"num_classes": True},
        {"mean": [float("nan")]},
        {"mean": ["0.5"]},
        {"std": list(range(100))},
        {"classes": [1, 2]},
        {"class_to_idx": {"a": 5, "b": 9}},
        {"input_size": [10**9]},
        {"classes": "[" * 100_000},
        None,
    ],
)
def test_hints_that_make_no_sense_are_dropped(root: Any) -> None:
    assert gather(root) == {}
