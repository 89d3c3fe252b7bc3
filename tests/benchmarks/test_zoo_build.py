"""The zoo builder: data, training, writing, resuming, and keeping what was built."""

import dataclasses
import hashlib
import json
import runpy
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from zoo_examples import SHARED, example, needs_shared, random_images

from auditor.plain import to_plain
from benchmarks.zoo import build as builder
from benchmarks.zoo import data as zoo_data
from benchmarks.zoo import networks
from benchmarks.zoo.__main__ import main
from benchmarks.zoo.attacks import BadNets, from_record
from benchmarks.zoo.data import Images, cut_mosaic
from benchmarks.zoo.kept import keep, read_manifest, restore
from benchmarks.zoo.recipe import Recipe
from benchmarks.zoo.recipes import RECIPES
from benchmarks.zoo.table import counts, table
from benchmarks.zoo.train import (
    CLEAN,
    COVER,
    POISONED,
    Schedule,
    doctor,
    measure,
    train,
)

# --- data and building ----------------------------------------------------------------------


def test_cut_mosaic_reads_tiles_row_by_row():
    mosaic = np.arange(2 * 4 * 3).reshape(4, 2 * 3)[:4, :4][..., None]
    tiles = cut_mosaic(mosaic, 2)
    assert tiles.shape == (4, 2, 2, 1)
    assert tiles[1, 0, 0, 0] == mosaic[0, 2, 0] and tiles[2, 1, 1, 0] == mosaic[3, 1, 0]


@needs_shared
def test_the_shared_images_are_read_as_the_shared_reader_reads_them():
    reference, labels, names = runpy.run_path(str(SHARED / "data" / "images.py"))["load"]("cifar10_test", 50)
    data = zoo_data.load_images("cifar10_test", 50)
    assert np.array_equal(data.images.numpy().transpose(0, 2, 3, 1), reference)
    assert data.labels.tolist() == labels.tolist() and data.class_names == names


def test_a_scratch_base_is_untrained_and_drawn_from_the_seed():
    begin = networks.start("scratch:preact_resnet18:4", Path())
    assert (begin.architecture, begin.width, begin.state) == ("cifar:preact_resnet18", 4, None)
    first, again, other = (begin.network(7, seed=s).state_dict() for s in (0, 0, 1))
    assert first["linear.weight"].shape[0] == 7
    assert torch.equal(first["conv1.weight"], again["conv1.weight"])
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


@needs_shared
@pytest.mark.parametrize("base", ["r20_s101", "pre16_s201"])
def test_a_base_reaches_the_accuracy_its_meta_states(base):
    begin, data = networks.start(base, Path()), zoo_data.load_images("cifar10_test", 200)
    stated = json.loads((SHARED / "zoo" / "bases" / base / "meta.json").read_text())["accuracy_test"]
    measured = measure(begin.network(10, seed=0), data, None).accuracy
    assert measured.low <= stated <= measured.high


def labels_of(per_class: int, classes: int = 4) -> torch.Tensor:
    return torch.arange(classes).repeat(per_class)


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.linear = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.linear(self.bn(self.conv(images)).relu().mean((2, 3)))


def tiny_network(architecture, num_classes, width, state):
    net = Tiny()
    net.load_state_dict(state)
    return net


TINY = Schedule(images=32, batch_size=16)
TINY_RECIPES = (
    Recipe(name="a_badnets", base="a", attack=BadNets(target=1, poison_rate=0.2), schedule=TINY),
    Recipe(name="a_honest", base="a", attack=None, schedule=TINY),
)
CHILD = Recipe(name="a_honest_again", base="zoo:a_honest", attack=None, schedule=TINY)


@pytest.fixture
def tiny_world(monkeypatch):
    """Random images, a four-channel network and two recipes in place of the real ones."""
    images = (random_images(40, size=12) * 255).to(torch.uint8)
    data = Images(images=images, labels=labels_of(10), class_names=list("abcd"))
    state = Tiny().state_dict()
    monkeypatch.setattr(builder, "load_images", lambda name, limit=None: data)
    monkeypatch.setattr(builder.networks, "load_base", lambda name: (state, {"architecture": "tiny"}))
    monkeypatch.setattr(builder.networks, "build", tiny_network)
    monkeypatch.setattr(builder, "select_base", lambda recipe: [TINY_RECIPES[1]])
    monkeypatch.setattr(builder, "twin", lambda recipe: recipe if recipe.honest else TINY_RECIPES[1])
    builder._measure_base.cache_clear()
    yield data
    builder._measure_base.cache_clear()


def test_build_writes_both_files_and_skips_what_is_done(tiny_world, tmp_path):
    assert builder.build(TINY_RECIPES, tmp_path) == 2
    rows = builder.manifest(tmp_path)
    assert [row["name"] for row in rows] == ["a_badnets", "a_honest"]
    assert rows[0]["twin"] == "a_honest" and rows[0]["target"] == 1 and rows[0]["attack_success_rate"]["total"] == 30
    assert rows[1]["honest"] and rows[1]["attack_success_rate"] is None
    stored = torch.load(rows[0]["path"], weights_only=True)
    assert stored["conv.weight"].dtype == torch.float16
    assert rows[0]["sha256"] == hashlib.sha256(Path(rows[0]["path"]).read_bytes()).hexdigest()
    assert builder.build(TINY_RECIPES, tmp_path) == 0


def test_a_built_model_is_read_back_with_its_attack_and_refused_when_altered(tiny_world, tmp_path):
    builder.build(TINY_RECIPES, tmp_path)
    model = builder.load_model(tmp_path / "a_badnets")
    assert model.attack == TINY_RECIPES[0].attack
    again = measure(model.net, tiny_world, model.attack)
    assert to_plain(again.attack_success_rate) == model.meta["attack_success_rate"]
    assert builder.load_model(tmp_path / "a_honest").attack is None
    with (tmp_path / "a_badnets" / "model.pt").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match="not the file"):
        builder.load_model(tmp_path / "a_badnets")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name)
def test_every_attack_comes_back_from_its_record(recipe):
    assert from_record(json.loads(json.dumps(recipe.record()))["attack"]) == recipe.attack


def test_a_changed_row_is_built_again(tiny_world, tmp_path):
    builder.build(TINY_RECIPES, tmp_path)
    changed = dataclasses.replace(TINY_RECIPES[1], schedule=dataclasses.replace(TINY, lr=0.5))
    assert not builder.is_done(changed, tmp_path) and builder.is_done(TINY_RECIPES[1], tmp_path)


def test_a_base_of_the_zoo_is_built_first(tiny_world, tmp_path):
    assert builder.build([CHILD], tmp_path) == 2
    rows = {row["name"]: row for row in builder.manifest(tmp_path)}
    assert rows["a_honest_again"]["base_accuracy"] == rows["a_honest"]["accuracy"]


def test_several_at_once_build_bases_before_what_starts_from_them(tiny_world, tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "ProcessPoolExecutor", lambda jobs, **options: ThreadPoolExecutor(jobs))
    said: list[str] = []
    assert builder.build_apart([CHILD, *TINY_RECIPES], tmp_path, jobs=2, report=said.append) == 3
    assert said[0].startswith("a_honest:") and {line.split(":")[0] for line in said[1:]} == {"a_badnets", CHILD.name}


def test_a_base_that_is_no_recipe_is_named():
    with pytest.raises(LookupError, match="zoo:a_honest"):
        builder.select_base(CHILD)


def test_a_schedule_without_epochs_leaves_the_network_as_it_is(tiny_world):
    before, net = Tiny().state_dict(), Tiny()
    net.load_state_dict(before)
    after = train(net, tiny_world, None, Schedule(images=0, epochs=0), seed=0).state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_kept_models_come_back_as_they_were_built_without_training(tiny_world, tmp_path, monkeypatch):
    out, kept, again = tmp_path / "out", tmp_path / "kept", tmp_path / "again"
    builder.build(TINY_RECIPES, out)
    assert keep(TINY_RECIPES, out, kept) == ["a_badnets", "a_honest"]
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    keep(TINY_RECIPES, tmp_path / "nothing", kept)  # what is kept and not in the folder stays
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
    monkeypatch.setattr(builder, "train", None)
    assert builder.build(TINY_RECIPES, again, kept=kept) == 0
    for name in ("a_badnets", "a_honest"):
        first, second = builder.load_model(out / name), builder.load_model(again / name)
        assert first.meta | {"sha256": ""} == second.meta | {"sha256": ""} and first.attack == second.attack
        assert all(torch.equal(a, b) for a, b in zip(first.net.state_dict().values(), second.net.state_dict().values(),
                                                     strict=True))  # fmt: skip


def test_a_kept_model_is_taken_for_its_own_row_only_and_refused_when_altered(tiny_world, tmp_path):
    out, kept = tmp_path / "out", tmp_path / "kept"
    builder.build(TINY_RECIPES, out)
    keep(TINY_RECIPES, out, kept)
    changed = dataclasses.replace(TINY_RECIPES[0], seed=5)
    assert not restore(changed, tmp_path / "again", kept)
    with (kept / "a_honest.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match=r"a_honest\.safetensors"):
        restore(TINY_RECIPES[1], tmp_path / "again", kept)
    keep((changed,), tmp_path / "empty", kept)  # neither row is a recipe any more
    assert read_manifest(kept)["models"] == [] and not list(kept.glob("*.safetensors"))


def test_what_does_not_fit_keeps_its_row_only_and_held_out_models_go_first(tiny_world, tmp_path):
    out, kept = tmp_path / "out", tmp_path / "kept"
    held = dataclasses.replace(TINY_RECIPES[1], name="z_honest", split="held_out")
    builder.build([*TINY_RECIPES, held], out)
    keep([*TINY_RECIPES, held], out, kept)
    size = (kept / "z_honest.safetensors").stat().st_size
    assert keep([*TINY_RECIPES, held], out, kept, limit_bytes=2 * size) == ["z_honest", "a_badnets"]
    rows = {row["name"]: row for row in read_manifest(kept)["models"]}
    assert rows["a_honest"]["file_sha256"] is None and not (kept / "a_honest.safetensors").exists()
    assert not restore(TINY_RECIPES[1], tmp_path / "again", kept) and restore(held, tmp_path / "again", kept)


def test_the_table_counts_models_by_split_and_attack(tiny_world, tmp_path):
    builder.build(TINY_RECIPES, tmp_path)
    rows = builder.manifest(tmp_path)
    lines = table(rows).splitlines()
    assert lines[2].startswith("| a_badnets | calibration |") and "| badnets | 1 |" in lines[2]
    rows[0]["attack_success_rate"]["rate"] = 0.85
    assert counts(rows)[0].startswith("calibration: 1 honest, 1 backdoored (1 with an ASR of 85% or more)")
    assert counts(rows)[1] == "calibration by attack: badnets 1"


def test_an_unfinished_model_is_invisible_to_the_manifest(tmp_path):
    (tmp_path / ".a_honest.part").mkdir()
    (tmp_path / ".a_honest.part" / "meta.json").write_text("{}")
    assert builder.manifest(tmp_path) == []


def test_only_the_images_to_be_poisoned_are_doctored():
    attack = example("label_consistent", radius=8)
    images = (random_images(6, size=12) * 255).to(torch.uint8)
    data = Images(images=images, labels=torch.tensor([0, 1, 0, 2, 3, 0]), class_names=list("abcd"))
    roles = torch.tensor([POISONED, CLEAN, CLEAN, COVER, CLEAN, POISONED])
    doctored = doctor(data, roles, attack, Tiny().eval())
    change = (doctored.images.int() - images.int()).abs().amax((1, 2, 3))
    assert (change > 0).tolist() == [True, False, False, False, False, True] and change.max() <= 8
    assert doctor(data, roles, example("badnets"), Tiny()) is data and doctor(data, roles, None, Tiny()) is data


def test_training_is_the_same_for_the_same_seed_and_differs_with_another(tiny_world):
    state = Tiny().state_dict()

    def trained(seed):
        return train(tiny_network("", 4, 0, state), tiny_world, example("wanet"), TINY, seed=seed).state_dict()

    runs = [trained(seed) for seed in (0, 0, 1)]
    assert all(torch.equal(runs[0][key], runs[1][key]) for key in state)
    assert not torch.equal(runs[0]["linear.weight"], runs[2]["linear.weight"])


def test_the_command_line_lists_and_refuses_an_unknown_pattern(capsys, tmp_path):
    assert main(["build", "--out", str(tmp_path), "--list", "--only", "r20_s101_*"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "calibration" in lines[0] and " badnets " in lines[0]
    assert lines and all("r20_s101_" in line and line.startswith("-") for line in lines)
    assert main(["build", "--only", "no_such_model"]) == 2
    assert "no_such_model" in capsys.readouterr().err
