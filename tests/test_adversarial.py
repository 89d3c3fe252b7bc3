"""The shared solver, on a linear toy where every answer is known and on a planted network."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from planted import CLASSES, TARGET, corner_trigger, planted, planted_images
from torch import Tensor, nn

from auditor import adversarial
from auditor.adversarial import FLIP_SHARE, MULTIPLIER_DECAY, MULTIPLIER_GROWTH, Descent, fast_math, flip_share, tighten
from auditor.search.additive import Additive
from auditor.search.patch import Patch
from auditor.suspect import Suspect

PATCH, ADDITIVE = Patch(), Additive()


@pytest.fixture(autouse=True)
def full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adversarial, "has_bfloat16", lambda kind: False)


class Brightness(nn.Module):
    """Class 1 above half brightness, class 2 above 0.9, else class 0; linear in the pixels."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean((1, 2, 3))
        return 100 * torch.stack([torch.zeros_like(mean), mean - 0.5, 2 * mean - 1.4], 1)


def toy() -> Suspect:
    return Suspect(Brightness(), num_classes=3, input_shape=(1, 2, 2))


def grey(*values: float) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()


def added(*values: float) -> dict[str, Tensor]:
    return {"delta": grey(*values)}


def descent(
    suspect: Suspect, targets: list[int], *, seed: int = 0, batch_size: int = 16, family: Patch | Additive = PATCH
) -> Descent:
    images, labels = planted_images()
    generator = torch.Generator().manual_seed(seed)
    raw = family.start(len(targets), suspect.input_shape, generator)
    return Descent(suspect, family, images, labels, torch.tensor(targets), raw, generator, batch_size)


# flip_share ---------------------------------------------------------------------------------------


def test_flip_share_by_hand() -> None:
    # Given brightness 0.1, 0.3, 0.45, 0.95: +0.1 brings 0.45 above a half, +0.3 also 0.3; 0.95 stays class 2.
    images, labels = grey(0.1, 0.3, 0.45, 0.95), torch.tensor([0, 0, 0, 2])
    share = flip_share(toy(), ADDITIVE, added(0.1, 0.3), torch.tensor([1, 1]), images, labels)
    assert share.tolist() == pytest.approx([1 / 4, 2 / 4])


def test_flip_share_leaves_out_images_of_the_target() -> None:
    images, labels = grey(0.1, 0.45, 0.6), torch.tensor([0, 0, 1])
    share = flip_share(toy(), ADDITIVE, added(0.1, 0.1), torch.tensor([1, 2]), images, labels)
    assert share.tolist() == [1 / 2, 0]


def test_flip_share_without_eligible_images_is_nan() -> None:
    share = flip_share(toy(), ADDITIVE, added(0.9), torch.tensor([1]), grey(0.1, 0.2), torch.tensor([1, 1]))
    assert math.isnan(share[0])


@pytest.mark.parametrize("batch_size", [1, 7, 10_000])
def test_flip_share_does_not_depend_on_the_batch(batch_size: int) -> None:
    images, labels = planted_images()
    suspect = planted()
    parameters = PATCH.constrain(PATCH.start(5, suspect.input_shape, torch.Generator().manual_seed(0)))
    parameters["mask"] = (3 * parameters["mask"]).clamp(0, 1)
    targets = torch.tensor([0, 4, 2, 4, 1])
    whole = flip_share(suspect, PATCH, parameters, targets, images, labels)
    suspect.meter.forward_images = 0
    parts = flip_share(suspect, PATCH, parameters, targets, images, labels, batch_size)
    assert whole.sum() > 0 and torch.equal(parts, whole) and suspect.meter.forward_images == 5 * len(images)


def test_flip_share_agrees_with_the_trigger_itself() -> None:
    images, labels = planted_images()
    parameters = {k: torch.from_numpy(v)[None] for k, v in corner_trigger().parameters.items()}
    share = flip_share(planted(), PATCH, parameters, torch.tensor([TARGET]), images, labels)
    assert share.item() == 1
    assert flip_share(planted(0.0), PATCH, parameters, torch.tensor([TARGET]), images, labels).item() == 0


# tighten ------------------------------------------------------------------------------------------


def test_tighten_finds_the_least_strength_within_its_bisection() -> None:
    # Given images at 0.1 and 0.2, +0.7 needs 4/7 to bring all above 0.5, +0.3 needs 4/3.
    images, labels = grey(0.1, 0.2), torch.zeros(2, dtype=torch.long)
    for rounds in (5, 12):
        final, share = tighten(
            toy(), ADDITIVE, added(0.7, 0.3), torch.tensor([1, 1]), images, labels, rounds=rounds
        )
        strength = final["delta"].mean((1, 2, 3)) / torch.tensor([0.7, 0.3])
        error = 2 / 2**rounds
        for found, least in zip(strength.tolist(), (4 / 7, 4 / 3), strict=True):
            assert least < found <= least + error + 1e-6
        assert share.tolist() == [1, 1]


def test_tighten_counts_the_share_it_needs() -> None:
    # Given 19 of 20 images at 0.4 and one at 0, 95 % suffice: +0.4 needs 1/4 rather than 5/4.
    images, labels = grey(*[0.4] * 19, 0.0), torch.zeros(20, dtype=torch.long)
    final, share = tighten(toy(), ADDITIVE, added(0.4), torch.tensor([1]), images, labels, rounds=8)
    assert 1 / 4 < final["delta"].mean().item() / 0.4 <= 1 / 4 + 2 / 2**8 + 1e-6
    assert share.item() == pytest.approx(FLIP_SHARE)


def test_tighten_reports_a_trigger_that_never_suffices() -> None:
    images, labels = grey(0.1, 0.45), torch.zeros(2, dtype=torch.long)
    final, share = tighten(toy(), ADDITIVE, added(0.1), torch.tensor([1]), images, labels)
    assert share.item() == 0.5 and final["delta"].max() <= 0.2 + 1e-6


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


# Descent ------------------------------------------------------------------------------------------


def test_meter_counts_steps_times_arms_times_batch() -> None:
    suspect = planted()
    run = descent(suspect, [0, 3, 4], batch_size=10)
    for _ in range(4):
        run.step()
    assert suspect.meter.forward_images == suspect.meter.backward_images == 4 * 3 * 10


def test_no_arm_has_a_say_in_the_gradient_of_another() -> None:
    run = descent(planted(), [4, 0, 4])
    raw = {name: value.requires_grad_(True) for name, value in run.raw.items()}
    parameters = run.family.constrain(raw)
    loss, _ = run._losses(parameters)
    for arm in range(3):
        objective = loss[arm] + run.family.penalty(parameters)[arm]
        for gradient in torch.autograd.grad(objective, list(raw.values()), retain_graph=True):
            others = [row for row in range(3) if row != arm]
            assert gradient[arm].abs().sum() > 0 and gradient[others].abs().sum() == 0


def test_an_arm_never_sees_images_of_its_target() -> None:
    # Given white images of the target class and black ones of all others, also when mixed.
    labels = torch.arange(60) % CLASSES
    images = (labels == TARGET).float().view(-1, 1, 1, 1).expand(-1, 3, 16, 16).clone()
    seen: list[Tensor] = []

    class Watching(Additive):
        def stamp(self, parameters: Mapping[str, Tensor], images_MBCHW: Tensor) -> Tensor:
            seen.append(images_MBCHW.amax((1, 2, 3, 4)))
            return super().stamp(parameters, images_MBCHW)

    generator = torch.Generator().manual_seed(0)
    raw = ADDITIVE.start(2, (3, 16, 16), generator)
    run = Descent(planted(), Watching(), images, labels, torch.tensor([TARGET, 0]), raw, generator, 40)
    for _ in range(3):
        run.step()
    assert all(most.tolist() == [0, 1] for most in seen) and len(seen) == 3


def test_fewer_images_than_a_batch_are_drawn_again() -> None:
    images, labels = planted_images(6)
    suspect = planted()
    generator = torch.Generator().manual_seed(0)
    raw = PATCH.start(1, suspect.input_shape, generator)
    Descent(suspect, PATCH, images, labels, torch.tensor([TARGET]), raw, generator, batch_size=16).step()
    assert suspect.meter.forward_images == 16


def test_same_seed_same_descent_another_seed_another() -> None:
    runs = [descent(planted(), [4, 1], seed=seed) for seed in (5, 5, 6)]
    for run in runs:
        for _ in range(5):
            run.step()
    first, again, other = (run.raw["mask"] for run in runs)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_first_step_moves_each_parameter_by_the_learning_rate() -> None:
    run = descent(planted(), [4, 1], family=ADDITIVE)
    before = run.raw["delta"].clone()
    run.step()
    moved = (run.raw["delta"] - before).abs()
    assert moved.max().item() == pytest.approx(ADDITIVE.learning_rate, rel=1e-3)
    assert moved.median().item() == pytest.approx(ADDITIVE.learning_rate, rel=1e-2)


def test_multiplier_rises_while_an_arm_flips_and_falls_while_it_does_not() -> None:
    # Given one trigger that always flips and one that never does.
    images, labels = grey(*[0.1] * 8), torch.zeros(8, dtype=torch.long)
    generator = torch.Generator().manual_seed(0)
    run = Descent(toy(), ADDITIVE, images, labels, torch.tensor([1, 1]), added(0.6, 0.0), generator, 8)
    progress = run.step()
    assert run.multiplier.tolist() == pytest.approx([MULTIPLIER_GROWTH, 1 / MULTIPLIER_DECAY])
    assert progress.flipped.tolist() == pytest.approx([0.3, 0])
    for _ in range(5):
        progress = run.step()
    assert progress.flipped[0] == pytest.approx(1 - 0.7**6)
    assert progress.best_cost[0] < 0.6 + 1e-6 and math.isinf(progress.best_cost[1])


def test_best_is_the_cheapest_that_sufficed_and_is_kept_with_its_cost() -> None:
    run = descent(planted(), [TARGET, 0, 1])
    stacked = torch.stack([run.step().best_cost for _ in range(40)])
    assert (stacked[1:] <= stacked[:-1]).all() and torch.isfinite(stacked[-1]).all()
    torch.testing.assert_close(PATCH.cost(run.best), run.best_cost)
    assert stacked[-1].argmin() == 0


def test_keep_takes_the_whole_state_of_the_arms_it_names() -> None:
    run = descent(planted(), [4, 0, 2, 5])
    for _ in range(10):
        run.step()
    names = ("raw", "first", "second", "best")
    before = {name: {k: v.clone() for k, v in getattr(run, name).items()} for name in names}
    flat = {name: getattr(run, name).clone() for name in ("multiplier", "flipped", "best_cost", "eligible")}
    run.keep(torch.tensor([3, 1]))
    assert run.targets.tolist() == [5, 0]
    for name in names:
        for key, value in getattr(run, name).items():
            assert torch.equal(value, before[name][key][[3, 1]])
    for name, value in flat.items():
        assert torch.equal(getattr(run, name), value[[3, 1]])
    assert len(run.step().loss) == 2 and run.steps_taken == 11


def test_suspect_stays_bit_identical_and_the_search_leaves_no_graph() -> None:
    suspect = planted()
    before = suspect.state()
    run = descent(suspect, [4, 1])
    for _ in range(3):
        progress = run.step()
    assert all(torch.equal(before[name], value) for name, value in suspect.module.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in suspect.module.parameters())
    tensors = [*run.raw.values(), *run.best.values(), run.multiplier, progress.loss, progress.flipped]
    assert not any(tensor.requires_grad for tensor in tensors)


def test_start_parameters_are_not_changed() -> None:
    suspect = planted()
    images, labels = planted_images()
    generator = torch.Generator().manual_seed(0)
    raw = PATCH.start(1, suspect.input_shape, generator)
    kept = {name: value.clone() for name, value in raw.items()}
    Descent(suspect, PATCH, images, labels, torch.tensor([TARGET]), raw, generator).step()
    assert all(torch.equal(raw[name], value) for name, value in kept.items())


def test_fast_math_does_not_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adversarial, "has_bfloat16", lambda kind: True)
    with fast_math(planted()):
        assert torch.is_autocast_enabled("cpu")
    with fast_math(planted(), enabled=False):
        assert not torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")
