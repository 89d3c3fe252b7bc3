"""Stamping by hand, and trigger files from strangers."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from auditor import triggers
from auditor.errors import InputError
from auditor.search import FAMILIES
from auditor.stamps import stamp_additive, stamp_patch
from auditor.triggers import AXES, PARAMETERS, STAMPS, Trigger, smallest_support


def patch(**changes: Any) -> Trigger:
    mask = np.zeros((4, 5), dtype=np.float32)
    mask[3, 4] = 1
    values: dict[str, Any] = {"mask": mask, "pattern": np.full((3, 4, 5), 0.25, dtype=np.float32)}
    return Trigger(family="patch", target_class=2, parameters={**values, **changes}, source_classes=[0, 1])


def additive(delta: float = 0.5) -> Trigger:
    return Trigger(family="additive", target_class=0, parameters={"delta": np.full((1, 2, 2), delta, dtype=np.float32)})


# --- stamping ------------------------------------------------------------------------------


def test_patch_mixes_image_and_pattern_by_the_mask() -> None:
    # Given 2 triggers on 1 image of 1 x 1 x 3, x = 0.2: (1 - m) x + m p.
    images = torch.full((2, 1, 1, 1, 3), 0.2)
    mask = torch.tensor([[[0.0, 0.5, 1.0]], [[1.0, 0.0, 0.25]]])
    pattern = torch.tensor([[[[1.0, 1.0, 1.0]]], [[[0.0, 0.0, 0.6]]]])
    stamped = stamp_patch({"mask": mask, "pattern": pattern}, images)
    assert stamped.shape == images.shape
    assert torch.allclose(stamped[0, 0, 0, 0], torch.tensor([0.2, 0.6, 1.0]))
    assert torch.allclose(stamped[1, 0, 0, 0], torch.tensor([0.0, 0.2, 0.3]))


def test_additive_adds_and_clips() -> None:
    images = torch.tensor([0.1, 0.5, 0.9]).view(1, 1, 1, 1, 3)
    delta = torch.tensor([-0.3, 0.25, 0.3]).view(1, 1, 1, 3)
    stamped = stamp_additive({"delta": delta}, images)
    assert torch.allclose(stamped.flatten(), torch.tensor([0.0, 0.75, 1.0]))


def test_trigger_stamps_every_image_and_leaves_them_unchanged() -> None:
    images = torch.rand(3, 3, 4, 5)
    before = images.clone()
    stamped = patch().stamp(images)
    assert torch.equal(images, before)
    assert torch.allclose(stamped[:, :, 3, 4], torch.tensor(0.25))
    stamped[:, :, 3, 4] = before[:, :, 3, 4]
    assert torch.equal(stamped, before)


@pytest.mark.parametrize("stamp", STAMPS)
def test_gradient_reaches_every_parameter(stamp: str) -> None:
    generator = torch.Generator().manual_seed(0)
    sides = {axis: min(most, 4) for axis, (_, most) in AXES.items()}
    parameters = {
        name: (0.1 * torch.rand(2, *(sides[axis] for axis in spec.axes), generator=generator)).requires_grad_(True)
        for name, spec in PARAMETERS[stamp].items()
    }
    images = 0.3 + 0.4 * torch.rand(2, 5, 3, 4, 4, generator=generator)
    (STAMPS[stamp](parameters, images) * torch.rand(images.shape, generator=generator)).sum().backward()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in parameters.values())


def test_every_family_says_what_its_parameters_hold() -> None:
    assert PARAMETERS.keys() == STAMPS.keys()
    for spec in (spec for specs in PARAMETERS.values() for spec in specs.values()):
        assert set(spec.axes) <= set(AXES) and spec.low < spec.high


# --- support -------------------------------------------------------------------------------


def test_support_holds_ninety_percent_of_the_energy() -> None:
    energy = np.array([[5.0, 3.0], [1.5, 0.5]], dtype=np.float32)  # 5 + 3 + 1.5 = 95 %
    assert smallest_support(energy).tolist() == [[True, True], [True, False]]
    assert smallest_support(np.array([[9.0, 1.0]], dtype=np.float32)).tolist() == [[True, False]]


def test_ties_go_to_the_first_pixels_in_reading_order() -> None:
    support = smallest_support(np.ones((4, 5), dtype=np.float32))
    assert support.ravel().tolist() == [True] * 18 + [False] * 2


def test_no_energy_has_no_support() -> None:
    assert not smallest_support(np.zeros((3, 3), dtype=np.float32)).any()


def test_a_mask_of_zeros_and_ones_is_its_own_support() -> None:
    mask = np.zeros((8, 8), dtype=np.float32)
    mask[:5, :5] = 1
    pattern = np.zeros((3, 8, 8), dtype=np.float32)
    known = Trigger(family="patch", target_class=0, parameters={"mask": mask, "pattern": pattern})
    assert (known.support(torch.rand(1, 3, 8, 8)) == (mask == 1)).all()


def test_support_of_a_patch_is_its_mask_and_of_others_their_change() -> None:
    images = torch.full((2, 1, 2, 2), 0.5)
    assert patch().support(torch.rand(1, 3, 4, 5)).nonzero() == (np.array([3]), np.array([4]))
    delta = np.array([[[0.0, -0.4], [0.01, 0.0]]], dtype=np.float32)
    trigger = Trigger(family="additive", target_class=0, parameters={"delta": delta})
    assert trigger.support(images).tolist() == [[False, True], [False, False]]


# --- files ---------------------------------------------------------------------------------


def started(family: str) -> Trigger:
    """What a search for 3 x 4 x 5 images may begin at."""
    parameters = FAMILIES[family].constrain(FAMILIES[family].start(1, (3, 4, 5), torch.Generator().manual_seed(0)))
    return Trigger(family=family, target_class=1, parameters={k: v[0].numpy() for k, v in parameters.items()})


@pytest.mark.parametrize(
    "trigger", [patch(), additive(-1.0), *map(started, FAMILIES)], ids=["a patch", "an additive", *FAMILIES]
)
def test_saved_trigger_loads_the_same(tmp_path: Path, trigger: Trigger) -> None:
    path = tmp_path / "trigger.npz"
    trigger.save(path)
    again = Trigger.load(path)
    assert (again.family, again.target_class) == (trigger.family, trigger.target_class)
    assert again.source_classes == trigger.source_classes
    assert again.parameters.keys() == trigger.parameters.keys()
    for name, value in trigger.parameters.items():
        assert np.array_equal(again.parameters[name], value)
    channels = 1 if trigger.target_class == 0 else 3
    again.stamp(torch.rand(1, channels, *((2, 2) if channels == 1 else (4, 5))))


def test_saved_bytes_are_the_same_every_time(tmp_path: Path) -> None:
    patch().save(tmp_path / "a.npz")
    patch().save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def good() -> dict[str, Any]:
    return {
        "family": "patch", "target_class": 2, "source_classes": np.array([0], dtype=np.int64),
        "parameter_mask": np.zeros((4, 5)), "parameter_pattern": np.zeros((3, 4, 5)),
    }  # fmt: skip


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        Trigger.load(path)
    assert caught.value.next_step and "\x1b" not in str(caught.value)
    return caught.value.what


def test_hand_written_file_is_read(tmp_path: Path) -> None:
    stored = {**good(), "source_classes": [], "parameter_mask": np.full((4, 5), 1.0004)}
    np.savez(tmp_path / "t.npz", **stored)
    trigger = Trigger.load(tmp_path / "t.npz")
    assert trigger.source_classes == []
    assert trigger.parameters["mask"].dtype == np.float32 and trigger.parameters["mask"].max() == 1.0


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"parameter_mask": np.array([{}], dtype=object)}, "Python objects"),
        ({"family": np.array([b"x", None], dtype=object)}, "Python objects"),
        ({"family": "sp\x1b[31mell"}, "unknown trigger family 'sp\\ufffd[31mell'"),
        ({"family": 5}, "does not name its family"),
        ({"family": np.array(["patch", "patch"])}, "does not name its family"),
        ({"family": "additive"}, "has delta, not mask, pattern"),
        ({"target_class": -1}, "-1 is not a class index"),
        ({"target_class": 10**9}, "not a class index"),
        ({"target_class": 1.5}, "target_class is missing or not whole numbers"),
        ({"target_class": np.array([1, 2])}, "target_class holds 2 values"),
        ({"source_classes": np.array([0, -4])}, "-4 is not a class index"),
        ({"source_classes": np.array(["a"])}, "source_classes is missing or not whole"),
        ({"parameter_mask": np.full((4, 5), np.nan)}, "mask holds NaN"),
        ({"parameter_pattern": np.full((3, 4, 5), np.inf)}, "pattern holds NaN or infinite"),
        ({"parameter_mask": np.full((4, 5), 2.0)}, "mask runs from 2 to 2, not within [0, 1]"),
        ({"parameter_pattern": np.full((3, 4, 5), 255, np.uint8)}, "not within [0, 1]"),
        ({"parameter_mask": np.zeros((5, 4))}, "does not fit (CHW)"),
        ({"parameter_mask": np.zeros((1, 4, 5))}, "not numbers (HW)"),
        ({"parameter_mask": np.zeros((0, 5))}, "does not fit (HW)"),
        ({"parameter_mask": np.zeros((5000, 1))}, "does not fit (HW)"),
        ({"parameter_pattern": np.zeros((4, 4, 5))}, "does not fit (CHW)"),
        ({"parameter_mask": np.array("text")}, "not numbers (HW)"),
        ({"parameter_mask": np.zeros((4, 5), np.complex64)}, "plain number"),
        ({"parameter_extra": np.zeros(3)}, "has mask, pattern, not"),
    ],
)
def test_malformed_trigger_file_is_refused(tmp_path: Path, changes: dict[str, Any], part: str) -> None:
    np.savez(tmp_path / "t.npz", **{**good(), **changes})
    assert part.encode().decode("unicode_escape") in refused(tmp_path / "t.npz")


@pytest.mark.parametrize(
    ("family", "shape", "value", "part"),
    [
        ("lowfreq", (3, 65, 4), 0.0, "does not fit (CUV)"),
        ("lowfreq", (3, 4, 10**5), 0.0, "does not fit (CUV)"),
        ("lowfreq", (4, 4, 4), 0.0, "does not fit (CUV)"),
        ("lowfreq", (4, 4), 0.0, "not numbers (CUV)"),
        ("lowfreq", (3, 4, 4), np.nan, "coefficients holds NaN"),
        ("lowfreq", (3, 4, 4), -1.5, "coefficients runs from -1.5 to -1.5, not within [-1, 1]"),
        ("warp", (2, 1000, 1000), 0.0, "does not fit (DIJ)"),
        ("warp", (2, 1, 4), 0.0, "does not fit (DIJ)"),
        ("warp", (3, 4, 4), 0.0, "does not fit (DIJ)"),
        ("warp", (2, 4, 4, 1), 0.0, "not numbers (DIJ)"),
        ("warp", (2, 4, 4), np.inf, "displacement holds NaN or infinite"),
        ("warp", (2, 4, 4), 9.0, "displacement runs from 9 to 9, not within [-8, 8]"),
    ],
)
def test_malformed_parameters_of_smooth_triggers_are_refused(
    tmp_path: Path, family: str, shape: tuple[int, ...], value: float, part: str
) -> None:
    (name,) = PARAMETERS[family]
    stored: dict[str, Any] = {"family": family, "target_class": 2, f"parameter_{name}": np.full(shape, value)}
    np.savez(tmp_path / "t.npz", **stored)
    assert part in refused(tmp_path / "t.npz")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"first": np.zeros((4000, 3, 3, 3))}, "first has shape (4000, 3, 3, 3), which does not fit (FCKK)"),
        ({"first": np.zeros((8, 3, 5, 5))}, "does not fit (FCKK)"),
        ({"first": np.zeros((8, 3, 3, 2))}, "does not fit (FCKK)"),
        ({"bias": np.zeros(7)}, "bias has shape (7,), which does not fit (F)"),
        ({"second": np.zeros((1, 8, 3, 3))}, "second has shape (1, 8, 3, 3), which does not fit (CFKK)"),
        ({"second": np.full((3, 8, 3, 3), np.nan)}, "second holds NaN"),
        ({"first": np.full((8, 3, 3, 3), 9.0)}, "not within [-8, 8]"),
        ({"strength": np.array([-0.1])}, "not within [0, 1]"),
        ({"strength": np.array(0.1)}, "not numbers (O)"),
        ({"strength": np.zeros(2)}, "does not fit (O)"),
    ],
)
def test_malformed_generator_is_refused(tmp_path: Path, changes: dict[str, Any], part: str) -> None:
    arrays = {**started("feature").parameters, **changes}
    stored: dict[str, Any] = {"family": "feature", "target_class": 2}
    np.savez(tmp_path / "t.npz", **stored, **{f"parameter_{name}": value for name, value in arrays.items()})
    assert part in refused(tmp_path / "t.npz")


def test_generator_must_draw_as_many_channels_as_the_model_takes() -> None:
    started("feature").check_fits(10, (3, 32, 32))
    with pytest.raises(InputError, match=r"first has shape \(8, 3, 3, 3\), but the model takes \(8, 1, 3, 3\)"):
        started("feature").check_fits(10, (1, 32, 32))


@pytest.mark.parametrize("key", ["family", "target_class", "parameter_mask"])
def test_trigger_file_that_lacks_an_array_is_refused(tmp_path: Path, key: str) -> None:
    np.savez(tmp_path / "t.npz", **{name: value for name, value in good().items() if name != key})
    assert key.removeprefix("parameter_") in refused(tmp_path / "t.npz")


def raw_npz(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def header(shape: str, descr: str = "'<f4'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (header("(100000, 100000)"), "is not how much data it holds"),
        (header("(2,)") + b"\0" * 4, "is not how much data it holds"),
        (header("(2,)") + b"\0" * 12, "is not how much data it holds"),
        (header("(-1,)"), "claims a shape"),
        (header("(0x" + "f" * 6000 + ",)"), "claims a shape"),
        (header("(" + "1," * 20 + ")"), "claims a shape"),
        (header("(0,)", "'|O'"), "Python objects"),
        (header("(1,)", "[('a', '<f4')]") + b"\0" * 4, "not a plain number"),
        (header("(1,)", "'<f4', 'extra': 1"), "does not begin like an array"),
        (header("__import__('os').getcwd()"), "does not begin like an array"),
        (header("(" * 3000), "does not begin like an array"),
        (b"\x93NUMPY\x09\x00", "does not begin like an array"),
        (b"\x80\x04N.", "does not begin like an array"),
        (b"", "does not begin like an array"),
    ],
)
def test_array_whose_header_lies_is_refused_before_memory_is_taken(tmp_path: Path, data: bytes, part: str) -> None:
    assert part in refused(raw_npz(tmp_path / "t.npz", {"family.npy": data}))


def test_bomb_is_refused_by_its_claimed_size(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "t.npz", **{**good(), "parameter_mask": np.zeros((4096, 4096, 2), np.float16)})
    assert (tmp_path / "t.npz").stat().st_size < 10**6
    assert "unpacks to" in refused(tmp_path / "t.npz")


def test_too_many_arrays_are_refused(tmp_path: Path) -> None:
    assert "65 arrays" in refused(raw_npz(tmp_path / "t.npz", {f"{i}.npy": header("(0,)") for i in range(65)}))


def test_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    assert "same name" in refused(raw_npz(tmp_path / "t.npz", {"family.npy": header("(0,)"), "family": b""}))


def test_damaged_data_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.savez(stream, **good())
    data = bytearray(stream.getvalue())
    data[data.index(b"NUMPY") + 140] ^= 0xFF  # inside the first array, whose checksum then fails
    (tmp_path / "t.npz").write_bytes(data)
    assert "not a readable .npz" in refused(tmp_path / "t.npz")
    (tmp_path / "t.npz").write_bytes(stream.getvalue()[:200])
    assert "not a readable .npz" in refused(tmp_path / "t.npz")


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    assert "is not a file" in refused(tmp_path / "none.npz")
    assert "is not a file" in refused(tmp_path)
    assert "cannot be read" in refused(tmp_path / ("n" * 5000))


@pytest.mark.parametrize("value", [np.nan, 1.5])
def test_trigger_that_could_not_be_read_back_is_not_written(tmp_path: Path, value: float) -> None:
    with pytest.raises(InputError):
        additive(value).save(tmp_path / "t.npz")
    assert not list(tmp_path.iterdir())


def test_trigger_must_fit_the_model() -> None:
    patch().check_fits(3, (3, 4, 5))
    with pytest.raises(InputError, match="names class 2, but the model has 2"):
        patch().check_fits(2, (3, 4, 5))
    with pytest.raises(InputError, match=r"mask has shape \(4, 5\), but the model takes \(5, 5\)"):
        patch().check_fits(3, (3, 5, 5))
    with pytest.raises(InputError, match="pattern"):
        patch().check_fits(3, (1, 4, 5))


def test_size_cap_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patch().save(tmp_path / "t.npz")
    monkeypatch.setattr(triggers, "MAX_FILE_BYTES", 100)
    assert "at most 100" in refused(tmp_path / "t.npz")


@pytest.mark.parametrize("seed", range(5))
def test_flipped_bytes_are_refused_or_harmless(tmp_path: Path, seed: int) -> None:
    patch().save(tmp_path / "t.npz")
    data, generator = (tmp_path / "t.npz").read_bytes(), np.random.default_rng(seed)
    refusals = 0
    for _ in range(100):
        flipped = bytearray(data)
        for position in generator.integers(0, len(data), 3):
            flipped[position] = generator.integers(256)
        (tmp_path / "t.npz").write_bytes(flipped)
        try:
            Trigger.load(tmp_path / "t.npz")
        except InputError:
            refusals += 1
    assert refusals > 50


def test_strength_multiplies_a_change_and_lengthens_a_warp() -> None:
    images = torch.linspace(0, 1, 8).view(1, 1, 1, 8).expand(2, 1, 8, 8)
    added = Trigger(family="additive", target_class=0, parameters={"delta": np.full((1, 8, 8), 0.1, np.float32)})
    moved = Trigger(family="warp", target_class=0, parameters={"displacement": np.full((2, 2, 2), 0.5, np.float32)})
    twice = Trigger(family="warp", target_class=0, parameters={"displacement": np.full((2, 2, 2), 1.0, np.float32)})

    strength = torch.tensor([1.0, 2.0])

    assert torch.allclose(added.stamp_at(images, strength)[1], (images[1] + 0.2).clamp(max=1))
    assert torch.allclose(added.stamp_at(images, strength)[0], added.stamp(images)[0])
    assert torch.allclose(moved.stamp_at(images, strength)[0], moved.stamp(images)[0])
    assert torch.allclose(moved.stamp_at(images, strength)[1], twice.stamp(images)[1])
