"""The bypass museum: every trick we know for making a checkpoint act or mislead its reader.

Most are judged by the static analysis alone, which decides before anything is deserialized;
one of each kind also goes through the whole gate, with a payload whose marker must not appear.
"""

from __future__ import annotations

import importlib
import io
import marshal
import operator
import os
import pickle
import random
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile_files as make
import pytest
import torch
from safetensors.torch import save

from auditor.checkpoint.child import static
from auditor.checkpoint.child.refusal import Refusal
from auditor.checkpoint.gate import inspect_file, open_checkpoint
from auditor.checkpoint.sniff import check_opened, sniff
from auditor.errors import BrokenCheckpointError, UnsafeCheckpointError


def refusal(tmp_path: Path, content: bytes, kind: str = "pytorch_zip") -> Refusal:
    path = tmp_path / "suspect.pt"
    path.write_bytes(content)
    with pytest.raises(Refusal) as caught:
        static.check_opcodes(static.analyse(path, kind))
    return caught.value


def payloads(marker: Path) -> dict[str, Any]:
    command = make.marker_command(marker)
    code = marshal.dumps(compile(f"open({str(marker)!r}, 'w')", "x", "exec"))
    return {
        "os.system": make.Payload(os.system, command),
        "eval": make.Payload(eval, f"open({str(marker)!r}, 'w')"),
        "exec": make.Payload(exec, f"open({str(marker)!r}, 'w')"),
        "getattr": make.Payload(getattr, "x", "upper"),
        "methodcaller": make.Payload(operator.methodcaller, "system", command),
        "import_module": make.Payload(importlib.import_module, "antigravity"),
        "nested pickle": make.Payload(pickle.loads, pickle.dumps(make.Payload(os.system, command))),
        "marshal": make.Payload(marshal.loads, code),
        "torch.load": make.Payload(torch.load, "x"),
        "hub": make.Payload(torch.hub.load, "x", "y"),
        "nested load": make.Payload(torch.storage._load_from_bytes, b"x"),
    }


@pytest.mark.parametrize("name", payloads(Path("marker")))
@pytest.mark.parametrize("write", [make.saved, make.legacy], ids=["zip", "legacy"])
def test_a_pickle_that_acts_is_unsafe_and_named(tmp_path: Path, name: str, write: Any) -> None:
    content = write({"fc.weight": torch.ones(4), "x": payloads(tmp_path / "marker")[name]})
    kind = "pytorch_zip" if write is make.saved else "pytorch_legacy"

    found = refusal(tmp_path, content, kind)

    assert found.kind == "unsafe"
    assert found.names
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("protocol", range(5))
def test_every_pickle_protocol_is_read_for_names(tmp_path: Path, protocol: int) -> None:
    data = pickle.dumps({"x": make.Payload(os.system, "true")}, protocol=protocol)

    found = refusal(tmp_path, make.archive(data))

    assert found.kind == "unsafe"
    assert found.names == (f"{os.system.__module__}.system",)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x8c\x04true\x85R.",
        b"\x80\x04\x8c\x06system\x94\x8c\x05posix\x940h\x01h\x00\x93\x8c\x04true\x85R.",  # through the memo
        b"\x80\x04}\x8c\x06system\x93\x8c\x04true\x85R.",  # the module is no string
        b"(S'true'\nios\nsystem\n.",
        b"(cos\nsystem\nS'true'\no.",
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"ctorch.serialization\nos.system\n(S'true'\ntR.",
        b"\x80\x02ccollections\nOrderedDict\n)Rcnt\nsystem\n0.",  # imported and thrown away
        b"\x80\x02cos\nsystem\n(S'true'\ntRI0x10\n.",  # parsers differ on 0x10, after the call
        b"\x80\x02cos\nsystem\n(X\x04\x00\x00\x00truetR",  # runs, then breaks off
    ],
)
def test_names_are_found_however_they_are_spelled(tmp_path: Path, data: bytes) -> None:
    found = refusal(tmp_path, make.archive(data))

    assert found.kind == "unsafe"
    assert found.names


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02I0x10\n.",
        b"\x80\x02}(X\xff\xff\xff\x7fa",
        b"\x80\x02}",
        b"\x80\x02h\x05.",
        b"\x80\x02R.",
        b"\x82\x01.",
        random.Random(0).randbytes(64).replace(b"c", b"d"),
    ],
)
def test_a_pickle_that_does_not_parse_is_refused(tmp_path: Path, data: bytes) -> None:
    assert refusal(tmp_path, make.archive(data)).kind in ("broken", "unsafe")


def test_bytes_after_the_pickle_are_refused(tmp_path: Path) -> None:
    found = refusal(tmp_path, make.archive(make.state_dict() + pickle.dumps(1)))

    assert found.kind == "unsafe"
    assert "after its pickle" in found.what


def members(**changes: bytes) -> list[tuple[str, bytes]]:
    own = {"data.pkl": make.state_dict(), **dict(make.STANDARD), "data/0": make.FLOATS}
    return [(f"model/{name}", content) for name, content in {**own, **changes}.items()]


ARCHIVES = {
    "second data.pkl": make.raw_zip([*members(), ("model/data.pkl", make.state_dict())]),
    "DATA.PKL beside data.pkl": make.raw_zip([("model/DATA.PKL", make.state_dict()), *members()]),
    "unexpected member": make.raw_zip([*members(), ("model/extra.xyz", b"x")]),
    "storage nobody uses": make.raw_zip([*members(), ("model/data/1", b"x")]),
    "two roots": make.raw_zip([*members(), ("other/version", b"3")]),
    "no root": make.archive(root=""),
    "path upwards": make.raw_zip([*members(), ("model/../version", b"3")]),
    "absolute path": make.raw_zip([*members(), ("/model/version", b"3")]),
    "backslash": make.raw_zip([*members(), ("model\\data.pkl", b"3")]),
    "encrypted": make.raw_zip(members(), flags=1),
    "compressed": make.raw_zip(members(), method=8),
    "other local name": make.raw_zip(members(), local_name=lambda name: name.replace("data.pkl", "DATA.pkl")),
    "prepended": b"PK\x03\x04" + make.archive(),
    "appended": make.archive() + b"more",
    "hidden gaps": make.raw_zip(members(), gap=b"hidden"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_readers_see_differently_is_unsafe(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path, ARCHIVES[name]).kind == "unsafe"


def test_the_plain_archive_of_these_tests_passes(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(make.archive())

    report = static.analyse(tmp_path / "model.pt", "pytorch_zip")

    assert report.listing == [{"name": "fc.weight", "shape": [4], "dtype": "float32"}]


def test_a_wrong_checksum_is_broken(tmp_path: Path) -> None:
    found = refusal(tmp_path, make.raw_zip(members(), crc_change=1))

    assert found.kind == "broken"
    assert "checksum" in found.what


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("write", [make.saved, make.legacy], ids=["pytorch_zip", "pytorch_legacy"])
def test_a_truncated_file_is_broken(tmp_path: Path, kept: float, write: Any) -> None:
    content = write({"fc.weight": torch.ones(50, 50)})
    kind = "pytorch_zip" if write is make.saved else "pytorch_legacy"

    assert refusal(tmp_path, content[: int(len(content) * kept)], kind).kind == "broken"


CLAIMS = {
    "larger than its storage": make.tensor((5,), (1,)),
    "past the end by offset": make.tensor((4,), (1,), offset=1),
    "past the end by stride": make.tensor((2, 2), (4, 1)),
    "stride zero, 10^12 elements": make.tensor((10**6, 10**6), (0, 0)),
    "negative size": make.tensor((-4,), (1,)),
    "negative stride": make.tensor((4,), (-1,), offset=3),
    "sizes and strides differ": make.tensor((2, 2), (1,)),
    "storage larger than its member": make.tensor(stored=make.storage(size=2**33)),
    "storage that is not there": make.tensor(stored=make.storage(key="7")),
    "one storage, two types": make.tensor() + b"0" + make.tensor(stored=make.storage(kind="IntStorage")),
    "quantized storage": make.tensor(stored=make.storage(kind="QInt8Storage")),
    "second shape by state": make.tensor() + b"(" + make.storage() + make.number(0) + b"(J\x00\x00\x00\x40t(J\x01\x00\x00\x00ttb",
}  # fmt: skip


@pytest.mark.parametrize("name", CLAIMS)
def test_a_tensor_must_fit_what_is_there(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path, make.archive(make.state_dict(weight=CLAIMS[name]))).kind == "broken"


@pytest.mark.parametrize(
    "value",
    [torch.ones(3, 3).to_sparse(), torch.ones(2, 2, device="meta")],
    ids=["sparse", "meta"],
)
def test_tensors_that_are_not_dense_are_refused(tmp_path: Path, value: torch.Tensor) -> None:
    found = refusal(tmp_path, make.saved({"x": value}))

    assert found.kind == "broken"
    assert "not plain dense" in found.what


@pytest.mark.parametrize(
    "extra",
    [
        make.call("__builtin__", "bytearray", make.number(10**12)),
        make.call("_codecs", "encode", make.text("x" * 100), make.text("zlib")),
        make.call("torch", "FloatStorage", make.number(10**12)),
    ],
    ids=["bytearray by size", "other codec", "storage by size"],
)
def test_harmless_names_are_not_lent_to_other_uses(tmp_path: Path, extra: bytes) -> None:
    assert refusal(tmp_path, make.archive(make.state_dict(make.text("x") + extra))).kind == "broken"


def test_a_legacy_storage_length_must_be_the_claimed_one(tmp_path: Path) -> None:
    content = bytearray(make.legacy({"x": torch.ones(4)}))
    content[-24:-16] = struct.pack("<q", 2**40)

    assert refusal(tmp_path, bytes(content), "pytorch_legacy").kind == "broken"


def test_bytes_after_a_legacy_file_are_refused(tmp_path: Path) -> None:
    content = make.legacy({"x": torch.ones(4)}) + b"more"

    assert "after its last storage" in refusal(tmp_path, content, "pytorch_legacy").what


def header(text: str, data: bytes = bytes(16)) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw + data


@pytest.mark.parametrize(
    "content",
    [
        header('{"a":{"dtype":"F32","shape":[5],"data_offsets":[0,16]}}'),
        header('{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', bytes(8)),
        header('{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', bytes(20)),
        header('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
        header('{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'),
        header('{"a":{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}}'),
        header('{"a":{"dtype":"C64","shape":[2],"data_offsets":[0,16]}}'),
        header('{"a":[]}'),
        header("{" * 100_000),
        struct.pack("<Q", 2**60) + b"{}",
    ],
)  # fmt: skip
def test_a_safetensors_header_must_tile_the_file(tmp_path: Path, content: bytes) -> None:
    assert refusal(tmp_path, content, "safetensors").kind in ("broken", "unsafe")


def legacy_tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    return stream.getvalue()


FORMATS = {
    "tar": legacy_tar(),
    "7z": b"7z\xbc\xaf\x27\x1c" + bytes(40),
    "gzip": b"\x1f\x8b" + bytes(40),
    "pickle": pickle.dumps({"x": 1}),
    "keras_h5": b"\x89HDF\r\n\x1a\n" + bytes(40),
    "onnx": b"\x08\x0a\x12\x07pytorch" + bytes(40),
    "git_lfs_pointer": b"version https://git-lfs.github.com/spec/v1\n",
    "html": b"<!DOCTYPE html><html></html>",
    "torchscript": make.raw_zip([("m/constants.pkl", b""), ("m/code/__torch__.py", b""), ("m/data.pkl", b"")]),
    "torch_export": make.raw_zip([("m/archive_format", b"pt2"), ("m/models/model.json", b"{}")]),
    "npz": make.raw_zip([("x.npy", b"")]),
    "zip": make.raw_zip([("word/document.xml", b"")]),
    "unknown": b"\x00\x01\x02\x03" * 20,
}


@pytest.mark.parametrize("expected", FORMATS)
def test_other_formats_are_named_and_refused_whatever_their_extension(tmp_path: Path, expected: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(FORMATS[expected])

    assert sniff(path) == expected
    with pytest.raises(BrokenCheckpointError) as caught:
        check_opened(expected, path)
    assert caught.value.exit_code == 4
    assert caught.value.next_step


@pytest.mark.parametrize("kind", ["pytorch_zip", "pytorch_legacy", "safetensors"])
def test_damage_anywhere_passes_or_is_refused_and_nothing_else(tmp_path: Path, kind: str) -> None:
    state, path, chance = {"fc.weight": torch.ones(3, 2), "b": torch.ones(2)}, tmp_path / "x", random.Random(0)
    writers: dict[str, Callable[[Any], bytes]] = {
        "pytorch_zip": make.saved, "pytorch_legacy": make.legacy, "safetensors": save,
    }  # fmt: skip
    whole = writers[kind](state)
    refused = 0
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            content[chance.randrange(len(content) - 40)] = chance.choice((0, 255, chance.randrange(256)))
        path.write_bytes(content)
        try:
            static.analyse(path, kind)
        except Refusal:
            refused += 1
    assert refused > 200


def test_the_gate_refuses_a_payload_that_stays_undone(tmp_path: Path) -> None:
    # Given a checkpoint whose payload would create a marker, under a misleading extension
    path, marker = tmp_path / "model.safetensors", tmp_path / "marker"
    path.write_bytes(make.saved({"fc.weight": torch.ones(4), "x": payloads(marker)["os.system"]}))

    # When it is opened
    with pytest.raises(UnsafeCheckpointError) as caught:
        open_checkpoint(path, workdir=tmp_path)

    # Then it names what it found, and the payload did not run
    assert "system" in str(caught.value)
    assert caught.value.exit_code == 4
    assert not marker.exists()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["model.safetensors"]


def test_inspect_reports_a_payload_as_dangerous(tmp_path: Path) -> None:
    path, marker = tmp_path / "model.pt", tmp_path / "marker"
    path.write_bytes(make.saved({"x": payloads(marker)["eval"]}))

    artifact, safety, details = inspect_file(path)

    assert artifact.format == "pytorch_zip"
    assert safety.status == "dangerous"
    assert details["imports"] == {"builtins.eval": "dangerous"}
    assert not marker.exists()


def test_a_child_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(save({"x": torch.ones(4)}))

    with pytest.raises(BrokenCheckpointError, match="not opened within"):
        open_checkpoint(path, timeout_s=0.05)


def test_a_child_that_needs_too_much_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(make.saved({"x": torch.ones(4 << 20)}))

    with pytest.raises(BrokenCheckpointError):
        open_checkpoint(path, memory_limit_bytes=1 << 20)


def test_a_whole_network_in_the_old_format_is_told_as_such(tmp_path: Path) -> None:
    found = refusal(tmp_path, make.legacy(torch.nn.Linear(2, 2)), "pytorch_legacy")

    assert found.kind == "broken"
    assert "state_dict" in found.next_step


def test_deep_nesting_ends_in_a_refusal(tmp_path: Path) -> None:
    # Hashing a deeply nested tuple recurses in C; as a key it may bring the child down, not us.
    path = tmp_path / "model.pt"
    nested = b"K\x01" + b"\x85" * 1_000_000
    path.write_bytes(make.archive(make.state_dict(nested + b"K\x01")))

    with pytest.raises(BrokenCheckpointError) as caught:
        open_checkpoint(path)
    assert caught.value.exit_code == 4
