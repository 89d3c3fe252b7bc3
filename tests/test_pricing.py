"""Counting and tightening many triggers at once, on a linear toy and on a planted network."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from brightness import added, grey, toy
from planted import TARGET, corner_trigger, planted, planted_images
from torch import Tensor

from auditor import adversarial, pricing
from auditor.adversarial import Family
from auditor.pricing import ENOUGH_SHARE, flip_share, flips, tighten
from auditor.search.additive import Additive
from auditor.search.patch import Patch
from auditor.suspect import Suspect

PATCH, ADDITIVE = Patch(), Additive()


@pytest.fixture(autouse=True)
def full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adversarial, "has_bfloat16", lambda kind: False)


def share_of(suspect: Suspect, family: Family, parameters: Mapping[str, Tensor], targets: Tensor, images: Tensor, labels: Tensor) -> Tensor:
    goals = targets[:, None].expand(-1, len(labels))
    return flip_share(flips(suspect, family, parameters, goals, images), labels[None] != goals)


# flip_share ---------------------------------------------------------------------------------------


def test_flip_share_by_hand() -> None:
    # Given brightness 0.1, 0.3, 0.45, 0.95: +0.1 brings 0.45 above a half, +0.3 also 0.3; 0.95 stays class 2.
    images, labels = grey(0.1, 0.3, 0.45, 0.95), torch.tensor([0, 0, 0, 2])
    share = share_of(toy(), ADDITIVE, added(0.1, 0.3), torch.tensor([1, 1]), images, labels)
    assert share.tolist() == pytest.approx([1 / 4, 2 / 4])


def test_flip_share_leaves_out_images_of_the_target() -> None:
    images, labels = grey(0.1, 0.45, 0.6), torch.tensor([0, 0, 1])
    share = share_of(toy(), ADDITIVE, added(0.1, 0.1), torch.tensor([1, 2]), images, labels)
    assert share.tolist() == [1 / 2, 0]


def test_flip_share_without_eligible_images_is_nan() -> None:
    share = share_of(toy(), ADDITIVE, added(0.9), torch.tensor([1]), grey(0.1, 0.2), torch.tensor([1, 1]))
    assert math.isnan(share[0])


@pytest.mark.parametrize("most", [1, 7, 150, 10_000])
def test_flip_share_does_not_depend_on_the_chunks(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = planted_images()
    suspect = planted()
    parameters = PATCH.constrain(PATCH.start(5, suspect.input_shape, torch.Generator().manual_seed(0)))
    parameters["mask"] = (3 * parameters["mask"]).clamp(0, 1)
    targets = torch.tensor([0, 4, 2, 4, 1])
    whole = share_of(suspect, PATCH, parameters, targets, images, labels)
    suspect.meter.forward_images = 0
    monkeypatch.setattr(pricing, "images_at_once", lambda suspect: most)
    parts = share_of(suspect, PATCH, parameters, targets, images, labels)
    assert whole.sum() > 0 and torch.equal(parts, whole) and suspect.meter.forward_images == 5 * len(images)


def test_flip_share_agrees_with_the_trigger_itself() -> None:
    images, labels = planted_images()
    parameters = {k: torch.from_numpy(v)[None] for k, v in corner_trigger().parameters.items()}
    share = share_of(planted(), PATCH, parameters, torch.tensor([TARGET]), images, labels)
    assert share.item() == 1
    assert share_of(planted(0.0), PATCH, parameters, torch.tensor([TARGET]), images, labels).item() == 0


# tighten ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", [5, 12])
def test_tighten_finds_the_least_strength_within_its_bisection(rounds: int) -> None:
    # Given images at 0.1 and 0.2, +0.7 needs 4/7 to bring both above 0.5, +0.15 needs 8/3.
    images, labels = grey(0.1, 0.2), torch.zeros(2, dtype=torch.long)
    final, share = tighten(
        toy(), ADDITIVE, added(0.7, 0.15), torch.tensor([1, 1]), images, labels, rounds=rounds
    )  # fmt: skip
    strength = (final["delta"].mean((1, 2, 3)) / torch.tensor([0.7, 0.15])).tolist()
    # The first round tries strength 1; the others halve what is below it, or the 3 above it.
    assert 4 / 7 < strength[0] <= 4 / 7 + 1 / 2 ** (rounds - 1) + 1e-5
    assert 8 / 3 < strength[1] <= 8 / 3 + 3 / 2 ** (rounds - 1) + 1e-5
    assert share.tolist() == [1, 1]


def test_tighten_takes_five_rounds() -> None:
    suspect, images, labels = toy(), grey(0.1, 0.2), torch.zeros(2, dtype=torch.long)
    final, _ = tighten(suspect, ADDITIVE, added(0.7), torch.tensor([1]), images, labels)
    # Strengths 1, 3/4 and 5/8 flip both; 1/2 and 9/16 miss the first, and the second is not asked.
    assert suspect.meter.forward_images == 3 * 2 + 2 * 1
    assert final["delta"].mean().item() / 0.7 == pytest.approx(10 / 16, rel=1e-5)


@pytest.mark.parametrize(("easy", "least"), [(20, 2 / 3), (16, 2 / 3), (15, 2.0)])
def test_tighten_counts_the_share_it_needs(easy: int, least: float) -> None:
    # Given so many of 20 images at 0.4, which +0.15 flips at 2/3, and the others at 0.2, which need 2.
    images, labels = grey(*[0.4] * easy, *[0.2] * (20 - easy)), torch.zeros(20, dtype=torch.long)
    final, share = tighten(toy(), ADDITIVE, added(0.15), torch.tensor([1]), images, labels, rounds=9)
    assert least < final["delta"].mean().item() / 0.15 <= least + 3 / 2**8 + 1e-5
    assert share.item() == pytest.approx(easy / 20 if easy / 20 >= ENOUGH_SHARE else 1)


def test_tighten_reports_a_trigger_that_never_suffices() -> None:
    # Given +0.1, even four times over too little for an image at 0.05.
    images, labels = grey(0.05, 0.45), torch.zeros(2, dtype=torch.long)
    final, share = tighten(toy(), ADDITIVE, added(0.1), torch.tensor([1]), images, labels)
    assert share.item() == 0.5
    torch.testing.assert_close(final["delta"], added(0.4)["delta"])


def test_tighten_stacks_a_patch_that_is_too_faint() -> None:
    # Given black images and a white patch at 0.3 everywhere: it needs a mask above a half, which
    # 1 - 0.7^s reaches at s = log 0.5 / log 0.7 = 1.94.
    images, labels = grey(0.0, 0.0), torch.zeros(2, dtype=torch.long)
    parameters = {"mask": torch.full((1, 2, 2), 0.3), "pattern": torch.ones(1, 1, 2, 2)}
    final, share = tighten(toy(), PATCH, parameters, torch.tensor([1]), images, labels, rounds=10)
    least = math.log(0.5) / math.log(0.7)
    assert share.item() == 1
    assert 0.5 < final["mask"].max().item() <= 1 - 0.7 ** (least + 3 / 2**9) + 1e-6


def test_one_stubborn_image_in_eighteen_does_not_multiply_the_cost() -> None:
    # Given 17 images that +0.2 flips at half strength and one that nothing flips: 94 % succeed,
    # which is enough for a cost to be compared, so that cost must be one of equal success.
    images, labels = grey(*[0.4] * 17, -50.0), torch.zeros(18, dtype=torch.long)
    final, share = tighten(toy(), ADDITIVE, added(0.2), torch.tensor([1]), images, labels)
    assert share.item() >= 0.9 and final["delta"].mean().item() / 0.2 <= 1


def test_tighten_does_not_change_what_it_is_given() -> None:
    parameters = added(0.7)
    tighten(toy(), ADDITIVE, parameters, torch.tensor([1]), grey(0.1), torch.tensor([0]))
    assert torch.equal(parameters["delta"], added(0.7)["delta"])
