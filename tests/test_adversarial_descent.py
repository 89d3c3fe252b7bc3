"""The descent: what an arm sees, remembers and pays, on a linear toy and on a planted network."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from brightness import added, grey, toy
from planted import CLASSES, TARGET, planted, planted_images
from torch import Tensor, nn

from auditor import adversarial
from auditor.adversarial import MULTIPLIER_DECAY, MULTIPLIER_GROWTH, REMEMBERED_SHARE, Descent
from auditor.search import FAMILIES
from auditor.search.additive import Additive
from auditor.search.patch import Patch
from auditor.suspect import Suspect

PATCH, ADDITIVE = Patch(), Additive()


@pytest.fixture(autouse=True)
def full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adversarial, "has_bfloat16", lambda kind: False)


def descent(
    suspect: Suspect, targets: list[int], *, seed: int = 0, batch_size: int = 16, family: Patch | Additive = PATCH
) -> Descent:
    images, labels = planted_images()
    generator = torch.Generator().manual_seed(seed)
    raw = family.start(len(targets), suspect.input_shape, generator)
    return Descent(suspect, family, images, labels, torch.tensor(targets), raw, generator, batch_size)


def test_meter_counts_steps_times_arms_times_batch() -> None:
    suspect = planted()
    run = descent(suspect, [0, 3, 4], batch_size=10)
    for _ in range(4):
        run.step()
    assert suspect.meter.forward_images == suspect.meter.backward_images == 4 * 3 * 10


def test_no_arm_has_a_say_in_the_gradient_of_another() -> None:
    run = descent(planted(), [4, 0, 4])
    arms, drawn = torch.arange(3), run.generator.get_state()
    loss, flipped, gradients = run._chunk(arms)
    run.generator.set_state(drawn)
    run.raw["mask"][1] += 3
    run.multiplier[1] *= 5
    other_loss, other_flipped, others = run._chunk(arms)
    assert not torch.equal(loss[1], other_loss[1])
    assert torch.equal(flipped[[0, 2]], other_flipped[[0, 2]])
    torch.testing.assert_close(loss[[0, 2]], other_loss[[0, 2]])
    for name, gradient in gradients.items():
        assert all(gradient[arm].abs().sum() > 0 for arm in range(3))
        torch.testing.assert_close(gradient[[0, 2]], others[name][[0, 2]], rtol=1e-4, atol=1e-7)
        assert not torch.allclose(gradient[1], others[name][1])


def test_chunks_of_arms_take_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given one image over and over, not mirrored or mixed, so that it does not matter which are drawn.
    monkeypatch.setattr(adversarial, "carriers", lambda images, generator: images)
    images, labels = planted_images(1)
    runs, batches = [], []
    for most in (10_000, 16, 5):
        monkeypatch.setattr(adversarial, "images_at_once", lambda suspect, most=most: most)
        suspect, generator = planted(), torch.Generator().manual_seed(0)
        sizes: list[int] = []
        suspect.module.register_forward_pre_hook(lambda _, inputs, sizes=sizes: sizes.append(len(inputs[0])))
        raw = PATCH.start(5, suspect.input_shape, generator)
        runs.append(
            Descent(suspect, PATCH, images.repeat(9, 1, 1, 1), labels.repeat(9), torch.tensor([4, 1, 2, 3, 5]), raw,
                    generator, batch_size=8)
        )  # fmt: skip
        progress = [runs[-1].step() for _ in range(3)][-1]
        assert progress.loss.shape == progress.flipped.shape == progress.best_cost.shape == (5,)
        batches.append(sizes)
    # Then a pass holds as many whole arms as fit, and never less than one.
    assert batches == [[40] * 3, [16, 16, 8] * 3, [8] * 15]
    for run in runs[1:]:
        torch.testing.assert_close(run.flipped, runs[0].flipped)
        torch.testing.assert_close(run.multiplier, runs[0].multiplier)
        for name, value in run.raw.items():
            torch.testing.assert_close(value, runs[0].raw[name], rtol=1e-3, atol=1e-3)


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


class Overflowing(nn.Module):
    """Finite answers whose gradient is no number, as weights made for it have."""

    def forward(self, images: Tensor) -> Tensor:
        nothing = (0 * images.flatten(1)).square().sum(1).sqrt()
        logits: Tensor = torch.arange(CLASSES).float() + nothing[:, None]
        return logits


def test_a_gradient_that_is_no_number_moves_nothing() -> None:
    images, labels = planted_images()
    suspect = Suspect(Overflowing(), num_classes=CLASSES, input_shape=tuple(images.shape[1:]))  # type: ignore[arg-type]
    for family in FAMILIES.values():
        raw = family.start(2, suspect.input_shape, torch.Generator().manual_seed(0))
        search = Descent(suspect, family, images, labels, torch.tensor([0, 1]), raw, torch.Generator().manual_seed(0), 16)
        search.step()
        assert all(torch.isfinite(value).all() for value in search.raw.values()), family.name


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
    # Then it is remembered only once its smoothed share suffices, after seven steps.
    for _ in range(5):
        progress = run.step()
    assert progress.flipped[0] == pytest.approx(1 - 0.7**6) and progress.flipped[0] < REMEMBERED_SHARE
    assert math.isinf(progress.best_cost[0])
    progress = run.step()
    assert progress.flipped[0] == pytest.approx(1 - 0.7**7) and progress.flipped[0] >= REMEMBERED_SHARE
    assert progress.best_cost[0] < 0.6 + 1e-6 and math.isinf(progress.best_cost[1])


def test_multiplier_falls_faster_than_it_rises() -> None:
    assert pytest.approx(1.15) == MULTIPLIER_GROWTH and pytest.approx(1.15**1.5) == MULTIPLIER_DECAY


def test_an_arm_whose_every_image_is_of_its_target_draws_from_all() -> None:
    images, labels = planted_images(12)
    suspect, generator = planted(), torch.Generator().manual_seed(0)
    raw = PATCH.start(2, suspect.input_shape, generator)
    run = Descent(
        suspect, PATCH, images, torch.full_like(labels, TARGET), torch.tensor([TARGET, 0]), raw, generator, 8
    )  # fmt: skip
    assert torch.isfinite(run.step().loss).all() and (run.eligible == 1).all()


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
