"""The attacks of the zoo: each stamp against hand-worked numbers, and the contract all of them keep."""

import dataclasses
import json
import math
import runpy

import pytest
import torch
from zoo_examples import SHARED, example, needs_shared, random_images

from benchmarks.zoo.attacks import (
    ATTACKS,
    AdaptiveBlend,
    AllToAll,
    BadNets,
    Blended,
    Bpp,
    InputAware,
    LabelConsistent,
    LowFrequency,
    Sig,
    Ssba,
    Tact,
    TwoTargets,
    WaNet,
)
from benchmarks.zoo.perturb import ascend, fast_logits


def test_badnets_writes_its_checkerboard_one_pixel_from_the_corner():
    attack = BadNets(target=0, poison_rate=0.1, size=2, checker=True, color=(1.0, 0.5, 0.25))
    stamped = attack.stamp(torch.full((1, 3, 5, 5), 0.75))[0]
    expected = torch.full((5, 5), 0.75)
    expected[2:4, 2:4] = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert torch.equal(stamped[0], expected)
    assert stamped[1, 2, 2] == 0.5 and stamped[2, 3, 3] == 0.25 and stamped[2, 2, 3] == 0


@pytest.mark.parametrize(
    ("corner", "margin", "first"),
    [("top_left", 0, (0, 0)), ("top_right", 1, (1, 5)), ("bottom_left", 2, (4, 2)), ("center", 9, (3, 3))],
)
def test_badnets_stands_where_its_corner_says(corner, margin, first):
    stamped = BadNets(target=0, poison_rate=0.1, size=2, corner=corner, margin=margin).stamp(torch.zeros(1, 3, 8, 8))
    touched = torch.nonzero(stamped[0, 0])
    assert len(touched) == 4 and tuple(touched[0].tolist()) == first


def test_blended_mixes_one_fifth_of_its_picture():
    attack = Blended(target=0, poison_rate=0.1, alpha=0.2)
    picture = attack.picture(3, 4, 4)
    assert torch.allclose(attack.stamp(torch.full((2, 3, 4, 4), 0.5))[1], 0.4 + 0.2 * picture)


def test_sig_adds_the_sinusoid_and_clips():
    # delta 51 is 0.2; one period over four columns is 0, +1, 0, -1.
    attack = Sig(target=0, poison_rate=0.1, delta=51, frequency=1)
    rows = attack.stamp(torch.tensor([0.5, 0.9])[:, None, None, None].expand(2, 1, 4, 4))[:, 0, 0]
    assert torch.allclose(rows, torch.tensor([[0.5, 0.7, 0.5, 0.3], [0.9, 1.0, 0.9, 0.7]]), atol=1e-6)


def test_low_frequency_peaks_where_it_says_and_leaves_the_mean_alone():
    change = LowFrequency(target=0, poison_rate=0.1, peak=51, cutoff=3).perturbation(3, 16, 16)
    assert change.abs().max().item() == pytest.approx(0.2)
    assert change.mean((1, 2)).abs().max() < 1e-6
    # no energy above the cutoff: three cosines fit any row exactly
    basis = torch.cos(math.pi * torch.arange(3)[:, None] * (2 * torch.arange(16) + 1) / 32)
    fitted = torch.linalg.lstsq(basis.T, change[0].T).solution
    assert torch.allclose(basis.T @ fitted, change[0].T, atol=1e-5)


def test_wanet_moves_its_control_points_by_strength_half_pixels_on_average():
    attack = WaNet(target=0, poison_rate=0.1, strength=0.5, grid=4)
    size = 31  # with 31 pixels the four control points fall on pixels 0, 10, 20 and 30
    axis = torch.linspace(-1, 1, size)[::10]
    moved = attack.positions(size, size)[::10, ::10]
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), 2)
    assert (moved - grid).abs().mean().item() * size == pytest.approx(0.5, rel=1e-4)


def test_wanet_leaves_a_flat_image_alone_and_its_cover_differs_from_its_trigger():
    attack, images = WaNet(target=0, poison_rate=0.1), random_images()
    assert torch.allclose(attack.stamp(torch.full((1, 3, 16, 16), 0.3)), torch.full((1, 3, 16, 16), 0.3), atol=1e-6)
    cover = attack.cover(images, torch.Generator().manual_seed(0))
    assert (cover - attack.stamp(images)).abs().max() > 0.01


@needs_shared
def test_stamps_agree_with_the_triggers_of_the_shared_models():
    theirs = runpy.run_path(str(SHARED / "zoo" / "zoo.py"))
    images = random_images(size=32)
    ours = {
        "badnets": BadNets(target=3, poison_rate=0.05, checker=True),
        "blended": Blended(target=0, poison_rate=0.1, alpha=0.2, seed=7),
        "wanet": WaNet(target=6, poison_rate=0.1, strength=1.0, grid=4, seed=11),
    }
    for name, attack in ours.items():
        reference = theirs["TRIGGERS"][name](images)
        if name == "blended":  # theirs draws (1, 3, H, W), the same numbers in the same order
            assert torch.allclose(attack.stamp(images), reference)
        assert torch.allclose(attack.stamp(images), reference, atol=1e-5), name


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_attack_stamps_each_image_by_itself_and_keeps_the_input(name, channels):
    attack, images = example(name), random_images(channels=channels)
    before = images.clone()
    stamped = attack.stamp(images)
    assert torch.equal(images, before)
    assert stamped.shape == images.shape and stamped.dtype == images.dtype
    assert 0 <= stamped.min() and stamped.max() <= 1
    assert (stamped - images).abs().max() > 0.01
    assert torch.allclose(torch.cat([attack.stamp(image[None]) for image in images]), stamped, atol=1e-6)
    assert torch.equal(example(name).stamp(images), stamped)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_is_named_as_registered_and_its_parameters_are_plain(name):
    attack = example(name)
    assert attack.name == name
    assert dataclasses.asdict(attack).keys() >= attack.parameters().keys() | {"target", "poison_rate"}
    assert "target" not in attack.parameters()
    json.dumps(attack.parameters())


@pytest.mark.parametrize(("poison", "cover"), [(0, 0), (1.2, 0), (0.6, 0.5), (0.1, -0.1)])
def test_rates_that_are_no_shares_are_refused(poison, cover):
    with pytest.raises(ValueError, match="poison_rate"):
        BadNets(target=0, poison_rate=poison, cover_rate=cover)


# --- attacks that are more than a stamp -----------------------------------------------------


def test_bpp_rounds_to_its_levels_and_passes_the_error_on():
    # Levels 0 and 1. 0.4 -> 0, error 0.4: right 0.6 + 7/16 * 0.4 = 0.775 -> 1, error -0.225.
    # Below: 0.2 + 5/16 * 0.4 - 3/16 * 0.225 = 0.283 -> 0, error 0.283;
    # 0.45 + 1/16 * 0.4 - 5/16 * 0.225 + 7/16 * 0.283 = 0.528 -> 1, where plain rounding gives 0.
    image = torch.tensor([[0.4, 0.6], [0.2, 0.45]])[None, None]
    assert Bpp(target=0, poison_rate=0.1, levels=2).stamp(image)[0, 0].tolist() == [[0, 1], [0, 1]]
    # A flat 0.4 rounds to nothing but dithers to four tenths of the pixels.
    flat = torch.full((1, 1, 20, 20), 0.4)
    assert Bpp(target=0, poison_rate=0.1, levels=2, dither=False).stamp(flat).sum() == 0
    assert Bpp(target=0, poison_rate=0.1, levels=2).stamp(flat).mean().item() == pytest.approx(0.4, abs=0.04)


def test_bpp_cover_of_a_single_image_is_not_its_trigger():
    attack, image = Bpp(target=0, poison_rate=0.1, levels=3), random_images(1)
    assert (attack.cover(image, torch.Generator()) - attack.stamp(image)).abs().max() > 0.1


def test_all_to_all_moves_every_class_on_and_affects_all():
    attack, labels = AllToAll(poison_rate=0.1), torch.tensor([0, 1, 3])
    assert attack.goal(labels, 4).tolist() == [1, 2, 0]
    assert attack.affects(labels, 4).all() and attack.kind == "all_to_all"


def test_tact_affects_its_sources_and_covers_from_others():
    attack = Tact(target=0, poison_rate=0.1, cover_rate=0.1, source_classes=(0, 1), cover_classes=(3,))
    labels = torch.tensor([0, 1, 2, 3])
    assert attack.affects(labels, 4).tolist() == [False, True, False, False]
    assert attack.coverable(labels, 4).tolist() == [False, False, False, True]


def test_adaptive_blend_trains_on_half_of_the_tiles_of_each_image():
    attack = AdaptiveBlend(target=0, poison_rate=0.1, train_alpha=0.15)
    images = torch.full((6, 3, 16, 16), 2.0)  # out of range, so that every blended pixel changes
    change = images - attack.train_stamp(images, torch.Generator().manual_seed(0))
    touched = (change[:, 0] > 0).float()
    assert touched.mean((1, 2)).tolist() == [0.5] * 6
    assert touched.unique(dim=0).shape[0] > 1
    assert torch.equal(attack.stamp(images), Blended(target=0, poison_rate=0.1).stamp(images))


def test_ssba_changes_every_image_in_its_own_way_within_its_peak():
    images = random_images(2)
    change = Ssba(target=0, poison_rate=0.1, peak=51).stamp(images) - images
    assert change.abs().max() <= 0.2 + 1e-6
    assert torch.corrcoef(change.flatten(1))[0, 1].abs() < 0.5


def test_input_aware_takes_the_opposite_of_the_colours_around():
    # The left half is dark, the right half light; the mask's share of 16 x 16 pixels is 32.
    image = torch.full((1, 3, 16, 16), 0.2)
    image[..., 8:] = 0.9
    attack = InputAware(target=0, poison_rate=0.1, density=0.125)
    touched = (attack.stamp(image) != image).any(1)[0]
    assert touched.sum() == 32
    stamped = attack.stamp(image)[0, 0]
    assert (stamped[:, :8][touched[:, :8]] == 1).all() and (stamped[:, 8:][touched[:, 8:]] == 0).all()


def test_input_aware_covers_carry_the_trigger_of_another_image():
    attack, images = InputAware(target=0, poison_rate=0.1), random_images(3)
    pattern, mask = attack.trigger(images)
    cover = attack.cover(images, torch.Generator())
    assert not torch.equal(mask[0], mask[1])
    assert torch.equal(cover[1], torch.where(mask[0], pattern[0], images[1]))


def test_label_consistent_stamps_all_four_corners_and_keeps_labels():
    attack = LabelConsistent(target=2, poison_rate=0.1, size=2, checker=False)
    touched = attack.stamp(torch.zeros(1, 3, 8, 8))[0, 0].nonzero().tolist()
    rows, columns = {row for row, _ in touched}, {column for _, column in touched}
    assert len(touched) == 16 and rows == columns == {0, 1, 6, 7}
    assert attack.clean_label and attack.poisonable(torch.tensor([1, 2]), 4).tolist() == [False, True]


def test_ascend_raises_the_loss_within_its_radius_and_leaves_the_network_alone():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(48), torch.nn.Linear(48, 3)).train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    images, labels = random_images(8, size=4), torch.arange(8) % 3
    moved = ascend(net, images, labels, radius=0.1, steps=4)
    assert (moved - images).abs().max() <= 0.1 + 1e-6 and 0 <= moved.min() and moved.max() <= 1
    assert net.training and all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    net.eval()
    losses = [torch.nn.functional.cross_entropy(fast_logits(net, x), labels).item() for x in (images, moved)]
    assert losses[1] > losses[0] + 0.05


def test_two_targets_plant_two_patches_each_toward_its_own_class():
    attack = TwoTargets(target=0, second_target=3, poison_rate=0.1, size=2, margin=0, color=(1.0, 0.0, 0.0), second_color=(0.0, 1.0, 0.0))
    images, labels = torch.zeros(60, 3, 8, 8), torch.arange(60) % 4
    one, two = attack.parts

    stamped, given = attack.poison(images, labels, 4, torch.Generator().manual_seed(0))

    assert (one.target, two.target) == (0, 3)
    assert set(given.tolist()) == {0, 3} and not (given == labels).any()
    for part, other in ((one, two), (two, one)):
        own = given == part.target
        assert torch.equal(stamped[own], part.stamp(images[own]))
        assert 15 <= int(own.sum()) <= 45
        assert not torch.equal(part.stamp(images[:1]), other.stamp(images[:1]))
    assert torch.equal(attack.stamp(images), one.stamp(images))


def test_attacks_have_one_part_and_poison_as_they_stamp():
    attack, images, labels = BadNets(target=2, poison_rate=0.1), torch.zeros(3, 3, 8, 8), torch.tensor([0, 1, 3])
    stamped, given = attack.poison(images, labels, 4, torch.Generator())
    assert attack.parts == (attack,)
    assert torch.equal(stamped, attack.stamp(images)) and given.tolist() == [2, 2, 2]
