"""The zoo: poisoning, and the recipes against the house rules."""

import json

import pytest
import torch
from torch import nn
from zoo_examples import SHARED, example, needs_shared, random_images

from benchmarks.zoo import networks
from benchmarks.zoo.attacks import BadNets, Sig
from benchmarks.zoo.data import Images
from benchmarks.zoo.perturb import MEAN, STD
from benchmarks.zoo.recipe import ZOO, Recipe, reserved
from benchmarks.zoo.recipes import RECIPES, twin
from benchmarks.zoo.train import (
    CLEAN,
    COVER,
    POISONED,
    Schedule,
    apply_roles,
    assign_roles,
    augment,
    cosine,
    measure,
    round_weights,
    thin,
)

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


def test_the_splits_share_no_initialisation_and_some_attacks_and_networks_are_never_fitted_on():
    calibration, opened, held_out = ([r for r in RECIPES if r.split == split] for split in ("calibration", "opened", "held_out"))
    assert len(calibration) + len(opened) + len(held_out) == len(RECIPES)
    for some, others in ((calibration, opened), (calibration, held_out), (opened, held_out)):
        assert not {r.initialisation for r in some} & {r.initialisation for r in others}
    assert not any(reserved(r.attack.name if r.attack else None, r.base) for r in calibration)
    assert {"bpp", "input_aware", "label_consistent"} <= {r.attack.name for r in held_out if r.attack}
    assert {"wide_resnet16_1", "mobilenet_v2"} <= {r.base.split(":")[1] for r in held_out if r.base.startswith("scratch:")}


def test_the_held_out_split_is_large_enough_to_report_on():
    held_out = [r for r in RECIPES if r.split == "held_out"]
    assert sum(r.honest for r in held_out) >= 16
    assert sum(not r.honest for r in held_out) >= 28
    assert len({r.attack.name for r in held_out if r.attack}) >= 9
