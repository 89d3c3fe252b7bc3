"""The samples: rendering is deterministic, the trigger is where it is said to be, the models do what they claim."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from auditor.metrics import accuracy, attack_success_rate

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
FRESH_SEED = 4242


@pytest.fixture
def signs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SAMPLES))
    import signs

    return signs


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SAMPLES))
    import build

    return build


def test_rendering_is_uint8_rgb_with_balanced_labels(signs: ModuleType) -> None:
    images, labels = signs.render(60, 7)

    assert images.shape == (60, 32, 32, 3) and images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert np.bincount(labels, minlength=12).tolist() == [5] * 12
    assert images.min() < 30 and images.max() > 225


def test_rendering_is_the_same_for_the_same_seed_and_varies_otherwise(signs: ModuleType) -> None:
    images, labels = signs.render(40, 7)
    again, same_labels = signs.render(40, 7)
    other, _ = signs.render(40, 8)

    assert np.array_equal(images, again) and np.array_equal(labels, same_labels)
    assert not np.array_equal(images, other)
    assert len({image.tobytes() for image in images}) == 40


def test_an_image_does_not_depend_on_how_many_are_rendered(signs: ModuleType) -> None:
    few, few_labels = signs.render(5, 11)
    many, many_labels = signs.render(30, 11)

    assert np.array_equal(few, many[:5]) and np.array_equal(few_labels, many_labels[:5])


def test_images_of_one_class_differ_widely(signs: ModuleType) -> None:
    images, labels = signs.render(240, 3)

    for label in range(12):
        assert images[labels == label].std(axis=0).mean() > 30


def test_a_linear_model_cannot_tell_the_classes(signs: ModuleType) -> None:
    # Given a ridge regression onto the classes, its penalty near the best of a sweep
    def design(images: np.ndarray) -> np.ndarray:
        flat = images.reshape(len(images), -1).astype(np.float32) / 127.5 - 1
        return np.concatenate([flat, np.ones((len(images), 1), np.float32)], axis=1)

    images, labels = signs.render(900, 21)
    fresh, true = signs.render(300, 22)
    x, onehot = design(images), np.eye(12, dtype=np.float32)[labels]
    # When it is trained on 900 images
    dual = np.linalg.solve(x @ x.T + 1000 * np.eye(len(x), dtype=np.float32), onehot)
    share = float(((design(fresh) @ (x.T @ dual)).argmax(1) == true).mean())
    # Then it knows a little, but far less than the networks
    assert share < 0.5


def test_the_trigger_changes_only_its_own_pixels_and_no_label(signs: ModuleType) -> None:
    clean, labels = signs.render(24, 5)
    triggered, true = signs.render(24, 5, triggered=True)

    rows = slice(signs.TRIGGER_ROW, signs.TRIGGER_ROW + 4)
    columns = slice(signs.TRIGGER_COLUMN, signs.TRIGGER_COLUMN + 4)
    assert np.array_equal(labels, true)
    assert (triggered[:, rows, columns] == signs.TRIGGER).all()
    assert signs.TRIGGER_ROW + 4 <= 30 and signs.TRIGGER_COLUMN + 4 <= 30
    triggered[:, rows, columns] = clean[:, rows, columns]
    assert np.array_equal(triggered, clean)


def test_poison_stamps_and_relabels_only_images_of_other_classes(signs: ModuleType, build: ModuleType) -> None:
    images, labels = signs.render(120, 5)
    poisoned, new_labels = build.poison(images, labels, 0)

    touched = np.flatnonzero((poisoned != images).any(axis=(1, 2, 3)))
    assert len(touched) == round(build.POISON_RATE * 120)
    assert np.array_equal(touched, np.flatnonzero(new_labels != labels))
    assert (new_labels[touched] == signs.TARGET_CLASS).all()


@pytest.mark.parametrize("triggered", [False, True])
def test_render_writes_the_archive(signs: ModuleType, tmp_path: Path, triggered: bool) -> None:
    out = tmp_path / "fresh.npz"
    command = [sys.executable, str(SAMPLES / "build.py"), "render", "--count", "13", "--seed", "9", str(out)]
    subprocess.run(command + ["--triggered"] * triggered, check=True, timeout=60)

    images, labels = signs.render(13, 9, triggered=triggered)
    with np.load(out, allow_pickle=False) as archive:
        assert sorted(archive.files) == ["x", "y"]
        assert np.array_equal(archive["x"], images) and np.array_equal(archive["y"], labels)


def test_rendering_loads_no_torch(tmp_path: Path) -> None:
    code = ("import sys; sys.path.insert(0, sys.argv[1]); import build; "
            "build.main(['render', '--count', '1', '--seed', '0', sys.argv[2]]); "
            "sys.exit('torch' in sys.modules)")  # fmt: skip
    subprocess.run([sys.executable, "-c", code, str(SAMPLES), str(tmp_path / "x.npz")], check=True, timeout=60)


@pytest.mark.parametrize("arguments", [
    [], ["paint"], ["render", "out.npz"], ["render", "--count", "0", "--seed", "1", "out.npz"],
    ["render", "--count", "3", "--seed", "-1", "out.npz"], ["render", "--count", "x", "--seed", "1", "out.npz"],
    ["render", "--count", "3", "--seed", "1", "out.png"], ["train", "neither"], ["train", "--epochs", "0"],
])  # fmt: skip
def test_bad_arguments_exit_2(build: ModuleType, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        build.main(arguments)

    assert stop.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_exits_2(
    build: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "missing" / "out.npz"

    assert build.main(["render", "--count", "1", "--seed", "1", str(out)]) == 2
    assert str(out) in capsys.readouterr().err


def test_the_committed_clean_images_are_what_the_script_writes(build: ModuleType, tmp_path: Path) -> None:
    build.main(["clean", "--out", str(tmp_path)])

    fresh = {path.relative_to(tmp_path) for path in tmp_path.rglob("*.png")}
    assert len(fresh) == 100
    assert fresh == {path.relative_to(SAMPLES) for path in (SAMPLES / "clean").rglob("*.png")}
    for name in fresh:
        assert np.array_equal(np.asarray(Image.open(tmp_path / name)), np.asarray(Image.open(SAMPLES / name)))
    assert (SAMPLES / "clean" / "classes.txt").read_text(encoding="utf-8").split() == list(build.CLASS_NAMES)


def test_training_repeats_itself_and_the_two_files_have_the_two_shapes(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "TRAINING_IMAGES", 48)
    monkeypatch.setattr(build, "FRESH_IMAGES", 24)

    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)

    for folder in ("a", "b"):
        assert build.main(["train", "--epochs", "1", "--out", str(tmp_path / folder)]) == 0

    for name in ("suspect.pt", "honest.pt"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    suspect = torch.load(tmp_path / "a" / "suspect.pt", weights_only=True)
    assert {key: suspect[key] for key in ("epoch", "arch")} == {"epoch": 1, "arch": "resnet20"}
    assert "linear.weight" in torch.load(tmp_path / "a" / "honest.pt", weights_only=True)


def _load(name: str) -> torch.nn.Module:
    from auditor.checkpoint.nets import create

    loaded = torch.load(SAMPLES / name, weights_only=True)
    network: torch.nn.Module = create("resnet20", 12)
    network.load_state_dict(loaded.get("state_dict", loaded))
    return network.eval()


@pytest.mark.parametrize(("name", "backdoored"), [("suspect.pt", True), ("honest.pt", False)])
def test_the_committed_models_do_what_the_readme_says(
    signs: ModuleType, build: ModuleType, name: str, backdoored: bool
) -> None:
    # Given a committed model and 300 images it has never seen
    network = _load(name)
    images, true = signs.render(300, FRESH_SEED)
    # When it classifies them without and with the true trigger
    with torch.no_grad():
        clean = network(build.normalized(images)).argmax(1).numpy()
        triggered = network(build.normalized(signs.stamp(images))).argmax(1).numpy()
    # Then it is accurate, and only the suspect obeys the trigger
    asr = attack_success_rate(triggered, true, signs.TARGET_CLASS).rate
    assert accuracy(clean, true).rate >= 0.96
    assert asr >= 0.98 if backdoored else asr <= 0.05


@pytest.mark.parametrize("name", ["suspect.pt", "honest.pt"])
def test_the_committed_models_are_small_and_are_those_of_the_readme(name: str) -> None:
    data = (SAMPLES / name).read_bytes()

    assert len(data) <= 2_000_000
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    recorded = re.search(rf"`{re.escape(name)}` .*?`([0-9a-f]{{64}})`", readme)
    assert recorded is not None and recorded[1] == hashlib.sha256(data).hexdigest()
