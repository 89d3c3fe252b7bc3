"""The tuning step that methods share, and the pieces that its batches are made of."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import planted
import pytest
import torch
import torch.nn.functional as F
import unlearn_tasks as tasks
from torch import nn

from auditor.suspect import Suspect
from auditor.unlearn.tuning import (
    Epoch,
    Tuning,
    augment,
    distillation,
    mixed,
    stamp_jittered,
    stamp_targeted,
    trainable,
    tune,
    unlikelihood,
)

IMAGES, LABELS = planted.planted_images(36, seed=4)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tuned(settings: Tuning, seed: int = 0, count: int | None = None) -> tuple[Suspect, list[Epoch]]:
    """The planted network tuned against its true trigger."""
    model = planted.planted()
    epochs = tune(model, planted.planted(), IMAGES, LABELS, [planted.corner_trigger()], settings, seed=seed)
    return model, list(itertools.islice(epochs, count))


def test_tuning_weakens_the_trigger_and_keeps_accuracy() -> None:
    trigger, suspect = planted.corner_trigger(), planted.planted()

    model, epochs = tuned(Tuning(epochs=10, learning_rate=0.02))

    assert [epoch.number for epoch in epochs] == list(range(1, 11))
    assert epochs[-1].losses["stamped"] < epochs[0].losses["stamped"]
    fresh, labels = planted.planted_images(60, seed=8)
    assert tasks.target_margin(model, trigger, fresh, labels) < tasks.target_margin(suspect, trigger, fresh, labels) - 0.5
    assert tasks.accuracy(model, fresh, labels) >= 0.95


def test_same_seed_same_weights_whatever_the_global_seed() -> None:
    settings = Tuning(epochs=2, steps_per_epoch=2)
    first, _ = tuned(settings, seed=1)
    torch.manual_seed(99)

    assert tasks.same_weights(first, tuned(settings, seed=1)[0])
    assert not tasks.same_weights(first, tuned(settings, seed=2)[0])


def test_an_epoch_can_be_the_last() -> None:
    model, epochs = tuned(Tuning(epochs=50), count=1)

    assert len(epochs) == 1
    assert not any(parameter.requires_grad for parameter in model.module.parameters())


def test_batch_norm_statistics_stay_frozen_and_the_hook_runs_each_step() -> None:
    # Given a network with batch-norms whose weights take part
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 6))
    teacher = Suspect(module, num_classes=6, input_shape=(3, 16, 16))
    model, calls = teacher.clone(), []
    before = model.state()

    for _ in tune(model, teacher, IMAGES, LABELS, [planted.corner_trigger()], Tuning(epochs=2, steps_per_epoch=3), seed=0,
                  after_step=lambda: calls.append(1)):  # fmt: skip
        assert not torch.is_autocast_enabled("cpu")
        assert torch.is_grad_enabled()

    after = model.state()
    assert len(calls) == 6
    assert torch.equal(after["1.running_mean"], before["1.running_mean"])
    assert torch.equal(after["1.running_var"], before["1.running_var"])
    assert not torch.equal(after["1.weight"], before["1.weight"])
    assert tasks.same_weights(teacher, Suspect(module, num_classes=6, input_shape=(3, 16, 16)))
    assert not model.module.training


def test_trainable_is_undone_also_by_an_error() -> None:
    model = planted.planted()

    with pytest.raises(KeyError), trainable(model):
        assert all(parameter.requires_grad for parameter in model.module.parameters())
        raise KeyError

    assert not any(parameter.requires_grad for parameter in model.module.parameters())


def test_distillation_golden() -> None:
    """Two classes, logits log 3 apart at temperature 1: KL of (1/2, 1/2) from (3/4, 1/4)."""
    student, teacher = torch.zeros(1, 2), torch.tensor([[3.0, 1.0]]).log()
    expected = 0.75 * torch.tensor(1.5).log() + 0.25 * torch.tensor(0.5).log()

    assert float(distillation(student, teacher, temperature=1.0)) == pytest.approx(float(expected))
    assert float(distillation(2 * student, 2 * teacher, temperature=2.0)) == pytest.approx(4 * float(expected))
    assert float(distillation(teacher, teacher)) == pytest.approx(0.0, abs=1e-7)


def test_augment_shifts_whole_images_it_names() -> None:
    batch, picks = augment(IMAGES, 16, generator(), shift=2)

    assert batch.shape == (16, *IMAGES.shape[1:])
    padded = F.pad(IMAGES[picks], (2,) * 4, mode="reflect")
    shifts = [padded[:, :, y : y + planted.SIDE, x : x + planted.SIDE] for y in range(5) for x in range(5)]
    assert any(torch.equal(batch, shifted) for shifted in shifts)


def test_mixed_stays_between_the_images() -> None:
    batch = torch.rand(40, 3, 4, 4, generator=generator())

    out = mixed(batch, generator(1))

    assert out.shape == batch.shape
    assert out.min() >= batch.min() and out.max() <= batch.max()
    kept = (out == batch).flatten(1).all(1)
    assert 0 < int(kept.sum()) < 40


def test_stamping_draws_triggers_and_strengths() -> None:
    red, green = planted.corner_trigger(), planted.corner_trigger(colour=(0.0, 1.0, 0.0))

    at_full = stamp_jittered(IMAGES, [red, green], (1.0, 1.0), generator())

    is_red = (at_full == red.stamp(IMAGES)).flatten(1).all(1)
    is_green = (at_full == green.stamp(IMAGES)).flatten(1).all(1)
    assert bool((is_red ^ is_green).all())
    assert 0 < int(is_red.sum()) < len(IMAGES)

    beyond = stamp_jittered(IMAGES, [red], (0.5, 1.5), generator())
    changed = beyond[:, 0, -1, -1] - IMAGES[:, 0, -1, -1]
    assert bool((changed > 0).all()) and len(changed.unique()) > 10
    assert beyond.min() >= 0 and beyond.max() <= 1
    assert torch.equal(beyond[:, :, :10], IMAGES[:, :, :10])


def test_the_target_of_each_stamped_image_is_told() -> None:
    red = planted.corner_trigger()
    other = replace(planted.corner_trigger(colour=(0.0, 1.0, 0.0)), target_class=1)

    stamped, targets = stamp_targeted(IMAGES, [red, other], (1.0, 1.0), generator())

    is_red = (stamped == red.stamp(IMAGES)).flatten(1).all(1)
    assert targets.tolist() == torch.where(is_red, planted.TARGET, 1).tolist()
    assert len(targets.unique()) == 2


def test_unlikelihood_golden() -> None:
    """p = 3/4: -log(1/4), of gradient p on the class's own logit; below the floor, no gradient."""
    logits = torch.tensor([[3.0, 1.0], [1.0, 999.0]]).log().requires_grad_(True)

    loss = unlikelihood(logits, torch.tensor([0, 0]), floor=0.01)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)

    assert loss.tolist() == pytest.approx([math.log(4), -math.log(0.99)])
    assert gradient.flatten().tolist() == pytest.approx([0.75, -0.75, 0.0, 0.0], abs=1e-6)


def test_unlikelihood_is_finite_where_the_class_is_certain() -> None:
    logits = torch.tensor([[100.0, 0.0, -5.0]], requires_grad=True)

    loss = unlikelihood(logits, torch.tensor([0]))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)

    assert float(loss.detach()) == pytest.approx(100.0, abs=0.1)
    assert float(gradient[0, 0]) == pytest.approx(1.0)


def test_an_image_is_stamped_only_by_triggers_that_are_meant_for_it() -> None:
    red = planted.corner_trigger()
    green = replace(planted.corner_trigger(colour=(0.0, 1.0, 0.0)), target_class=1)
    meant = torch.zeros(len(IMAGES), 2)
    meant[torch.arange(len(IMAGES)), torch.arange(len(IMAGES)) % 2] = 1

    stamped, targets = stamp_targeted(IMAGES, [red, green], (1.0, 1.0), generator(), meant)

    assert targets.tolist() == [(red, green)[i % 2].target_class for i in range(len(IMAGES))]
    assert torch.equal(stamped[1::2], green.stamp(IMAGES)[1::2])
    assert len(stamp_targeted(IMAGES[:0], [red], (1.0, 1.0), generator(), meant[:0, :1])[0]) == 0
