"""The zoo builder: poisoning, recipes against the house rules, writing and resuming."""

import dataclasses
import hashlib
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from auditor.domain import to_plain
from benchmarks.zoo import build as builder
from benchmarks.zoo import data as zoo_data
from benchmarks.zoo import networks
from benchmarks.zoo.__main__ import main
from benchmarks.zoo.attacks import ATTACKS, Attack, BadNets, Sig, from_record
from benchmarks.zoo.data import Images, cut_mosaic
from benchmarks.zoo.kept import keep, read_manifest, restore
from benchmarks.zoo.perturb import MEAN, STD
from benchmarks.zoo.recipe import ZOO, Recipe
from benchmarks.zoo.recipes import RECIPES, twin
from benchmarks.zoo.table import counts, table
from benchmarks.zoo.train import (
    CLEAN,
    COVER,
    POISONED,
    Schedule,
    apply_roles,
    assign_roles,
    augment,
    cosine,
    doctor,
    measure,
    round_weights,
    thin,
    train,
)

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
needs_shared = pytest.mark.skipif(not (SHARED / "zoo").is_dir(), reason="the shared folder is absent")


def random_images(count: int = 4, channels: int = 3, size: int = 16) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(1))


def example(name: str, **fields: object) -> Attack:
    return ATTACKS[name](**{"target": 0, "poison_rate": 0.1} | fields)


# --- poisoning ------------------------------------------------------------------------------


def labels_of(per_class: int, classes: int = 4) -> torch.Tensor:
    return torch.arange(classes).repeat(per_class)


def test_roles_hit_the_asked_rates_and_spare_the_target_class():
    labels = labels_of(100)
    attack = BadNets(target=2, poison_rate=0.1, cover_rate=0.05)
    roles = assign_roles(labels, attack, 4, torch.Generator().manual_seed(0))
    assert (roles == POISONED).sum() == 40 and (roles == COVER).sum() == 20 and (roles == CLEAN).sum() == 340
    assert not (labels[roles == POISONED] == 2).any()


def test_clean_label_poisons_only_the_target_class_and_changes_no_label():
    labels = labels_of(100)
    attack = Sig(target=1, poison_rate=0.5, clean_label=True)
    roles = assign_roles(labels, attack, 4, torch.Generator().manual_seed(0))
    assert (roles == POISONED).sum() == 100  # asked for 200, the class has 100
    assert (labels[roles == POISONED] == 1).all()
    _, after = apply_roles(random_images(400, size=8), labels, roles, attack, 4, torch.Generator())
    assert torch.equal(after, labels)


def test_apply_roles_stamps_and_relabels_the_poisoned_images_only():
    attack, images = BadNets(target=2, poison_rate=0.1), random_images(4)
    labels, roles = torch.tensor([0, 1, 2, 3]), torch.tensor([CLEAN, POISONED, CLEAN, COVER])
    fed, given = apply_roles(images, labels, roles, attack, 4, torch.Generator())
    assert given.tolist() == [0, 2, 2, 3] and labels.tolist() == [0, 1, 2, 3]
    assert torch.equal(fed[[0, 2]], images[[0, 2]])
    assert torch.equal(fed[[1, 3]], attack.stamp(images)[[1, 3]])


def test_honest_training_images_are_untouched():
    images, labels = random_images(), labels_of(1)
    roles = assign_roles(labels, None, 4, torch.Generator())
    assert (roles == CLEAN).all()
    assert apply_roles(images, labels, roles, None, 4, torch.Generator())[0] is images


def test_a_long_tail_keeps_all_of_the_first_class_and_the_asked_share_of_the_last():
    labels = labels_of(4000, classes=3)
    kept = torch.bincount(labels[thin(labels, 3, 0.01, torch.Generator().manual_seed(0))])
    assert kept[0] == 4000 and 340 < kept[1] < 460 and 20 < kept[2] < 65  # shares 1, 0.1, 0.01
    assert len(thin(labels, 3, 1.0, torch.Generator())) == len(labels)


def test_only_the_images_to_be_poisoned_are_doctored():
    attack = example("label_consistent", radius=8)
    images = (random_images(6, size=12) * 255).to(torch.uint8)
    data = Images(images=images, labels=torch.tensor([0, 1, 0, 2, 3, 0]), class_names=list("abcd"))
    roles = torch.tensor([POISONED, CLEAN, CLEAN, COVER, CLEAN, POISONED])
    doctored = doctor(data, roles, attack, Tiny().eval())
    change = (doctored.images.int() - images.int()).abs().amax((1, 2, 3))
    assert (change > 0).tolist() == [True, False, False, False, False, True] and change.max() <= 8
    assert doctor(data, roles, example("badnets"), Tiny()) is data and doctor(data, roles, None, Tiny()) is data


def test_augment_shifts_whole_images_and_mirrors_about_half_of_them():
    ramp = torch.arange(16.0)[None, None, None].expand(200, 3, 16, 16) / 16
    shifted = augment(ramp, torch.Generator().manual_seed(0))
    assert shifted.shape == ramp.shape
    assert torch.equal(shifted[:, 0], shifted[:, 2]) and torch.equal(shifted[:, :, 0], shifted[:, :, 9])
    mirrored = (shifted[:, 0, 0, 10] < shifted[:, 0, 0, 5]).sum().item()
    assert 70 < mirrored < 130
    assert (augment(ramp, torch.Generator().manual_seed(0), flip=False)[:, 0, 0, 10] > ramp[0, 0, 0, 5]).all()


def test_cosine_warms_up_then_falls_to_nothing():
    assert [cosine(step, 10, 0.2) for step in (0, 1, 2)] == [0.5, 1.0, 1.0]
    assert cosine(6, 10, 0.2) == pytest.approx(0.5)
    assert cosine(9, 10, 0.0) < 0.03


def test_rounding_keeps_batch_norm_statistics_and_counters():
    rounded = round_weights(nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)).state_dict())
    assert rounded["0.weight"].dtype == torch.float16 and rounded["1.weight"].dtype == torch.float16
    assert rounded["1.running_var"].dtype == torch.float32
    assert rounded["1.num_batches_tracked"].dtype == torch.int64


class Planted(nn.Module):
    """Answers class 1 when the last pixel but one is white, else the class its mean level spells."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pixels = images * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
        level = (pixels[:, 0, 0, 0] * 4).round().long()
        return nn.functional.one_hot(torch.where(pixels[:, 0, -2, -2] > 0.95, 1, level), 4).float()


def test_measure_counts_asr_and_ra_on_images_outside_the_target_class():
    labels = labels_of(5)
    images = (labels.float() / 4 * 255).round().to(torch.uint8)[:, None, None, None].expand(-1, 3, 8, 8)
    data = Images(images=images, labels=labels, class_names=["a", "b", "c", "d"])
    hit = measure(Planted(), data, BadNets(target=1, poison_rate=0.1))
    assert hit.accuracy.hits == 20 and hit.attack_success_rate.hits == 15 and hit.attack_success_rate.total == 15
    assert hit.recovered_accuracy.hits == 0
    missed = measure(Planted(), data, BadNets(target=1, poison_rate=0.1, corner="top_right", size=2))
    assert missed.attack_success_rate.hits == 0 and missed.recovered_accuracy.hits == 15
    assert measure(Planted(), data, None).attack_success_rate is None


# --- recipes --------------------------------------------------------------------------------


def test_recipe_names_are_unique_and_safe_as_folders():
    names = [r.name for r in RECIPES]
    assert len(set(names)) == len(names)
    assert all(name.replace("_", "").isalnum() for name in names)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name)
def test_every_recipe_has_an_honest_twin_of_its_base_and_schedule(recipe):
    other = twin(recipe)
    assert other.honest and (other.base, other.schedule, other.seed) == (recipe.base, recipe.schedule, recipe.seed)
    assert other is recipe if recipe.honest else other is not recipe


def test_a_recipe_without_a_twin_is_named():
    lonely = Recipe(name="lonely", base="r20_s101", attack=example("sig"), schedule=Schedule(images=7))
    with pytest.raises(LookupError, match="lonely"):
        twin(lonely, (lonely,))


@needs_shared
def test_recipes_start_from_honest_bases_only():
    honest = {r.name for r in RECIPES if r.honest}
    for recipe in RECIPES:
        if recipe.base.startswith(ZOO):
            assert recipe.base.removeprefix(ZOO) in honest
        elif not recipe.base.startswith(networks.SCRATCH):
            assert json.loads((SHARED / "zoo" / "bases" / recipe.base / "meta.json").read_text())["honest"] is True
        assert recipe.train_set != recipe.eval_set and recipe.eval_set.endswith(("_val", "_test"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name)
def test_every_recipe_is_named_after_the_initialisation_it_descends_from(recipe):
    if recipe.base.startswith(networks.SCRATCH):
        assert recipe.initialisation.endswith(f"_s{recipe.seed}")
    else:
        assert recipe.initialisation == recipe.base.removeprefix(ZOO)


def test_the_splits_share_no_initialisation_and_some_attacks_and_a_network_are_only_held_out():
    calibration, held_out = ([r for r in RECIPES if r.split == split] for split in ("calibration", "held_out"))
    assert len(calibration) + len(held_out) == len(RECIPES)
    assert not {r.initialisation for r in calibration} & {r.initialisation for r in held_out}
    seen = {r.attack.name for r in calibration if r.attack}
    assert {"bpp", "input_aware"} <= {r.attack.name for r in held_out if r.attack} - seen
    assert not any("mobilenet" in r.base for r in calibration)


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
    monkeypatch.setattr(builder, "twin", lambda recipe: twin(recipe, TINY_RECIPES))
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
    assert keep(TINY_RECIPES, out, kept) == ["a_badnets", "a_honest"] and keep(TINY_RECIPES, out, kept) == []
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
