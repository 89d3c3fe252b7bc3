"""The contract every trigger family keeps, and what patch and additive triggers cost by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from auditor.adversarial import Family
from auditor.domain import FAMILY_WORDS
from auditor.search import FAMILIES
from auditor.search.additive import Additive
from auditor.search.patch import Patch
from auditor.triggers import PARAMETERS, Trigger

SHAPE = (3, 8, 10)
each_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())


def started(family: Family, arms: int = 3, seed: int = 0) -> dict[str, torch.Tensor]:
    return family.start(arms, SHAPE, torch.Generator().manual_seed(seed))


@each_family
def test_starts_from_the_generator_alone(family: Family) -> None:
    first, again, other = started(family), started(family), started(family, seed=1)
    for name, value in first.items():
        assert torch.equal(value, again[name]) and not torch.equal(value, other[name])
        assert not torch.equal(value[0], value[1])


@each_family
def test_constrained_parameters_are_what_a_trigger_holds(family: Family, tmp_path: Path) -> None:
    raw = {name: 50 * value for name, value in started(family).items()}
    parameters = family.constrain(raw)
    assert set(parameters) == set(PARAMETERS[family.name])
    for name, spec in PARAMETERS[family.name].items():
        value = parameters[name]
        assert value.dtype == torch.float32 and value.min() >= spec.low and value.max() <= spec.high
    # Then each is a trigger for images of that shape, and its file is one that is read back.
    for arm in range(3):
        trigger = Trigger(
            family=family.name, target_class=0, parameters={k: v[arm].numpy() for k, v in parameters.items()}
        )
        trigger.check_fits(10, SHAPE)
        trigger.save(tmp_path / "t.npz")


@each_family
def test_stamps_as_the_trigger_it_becomes(family: Family) -> None:
    parameters = family.constrain(started(family))
    images = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(1))
    stamped = family.stamp(parameters, images[None].expand(3, *images.shape))
    for arm in range(3):
        arrays = {name: value[arm].numpy() for name, value in parameters.items()}
        trigger = Trigger(family=family.name, target_class=0, parameters=arrays)
        torch.testing.assert_close(trigger.stamp(images), stamped[arm], atol=1e-6, rtol=0)
    assert stamped.min() >= 0 and stamped.max() <= 1


@each_family
def test_cost_and_penalty_are_finite_and_can_be_descended(family: Family) -> None:
    raw = {name: value.requires_grad_(True) for name, value in started(family).items()}
    parameters = family.constrain(raw)
    cost, penalty = family.cost(parameters), family.penalty(parameters)
    assert cost.shape == penalty.shape == (3,) and torch.isfinite(cost).all() and (cost > 0).all()
    gradients = torch.autograd.grad(penalty.sum(), list(raw.values()), allow_unused=True)
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)


@each_family
def test_penalty_of_no_trigger_has_a_finite_gradient(family: Family) -> None:
    raw = {name: torch.zeros_like(value).requires_grad_(True) for name, value in started(family).items()}
    gradients = torch.autograd.grad(family.penalty(family.constrain(raw)).sum(), list(raw.values()), allow_unused=True)
    assert all(gradient is None or torch.isfinite(gradient).all() for gradient in gradients)


@each_family
def test_strength_scales_each_arm_by_its_own_number(family: Family) -> None:
    parameters = family.constrain(started(family))
    scaled = family.scale(parameters, torch.tensor([1.0, 0.5, 0.0]))
    images = torch.rand(1, 2, *SHAPE).expand(3, -1, -1, -1, -1)
    for name, value in parameters.items():
        assert torch.equal(scaled[name][0], value[0])
    cost = family.cost(parameters)
    torch.testing.assert_close(family.cost(scaled), cost * torch.tensor([1.0, 0.5, 0.0]))
    assert not torch.equal(family.stamp(parameters, images)[2], images[2])
    torch.testing.assert_close(family.stamp(scaled, images)[2], images[2], atol=1e-5, rtol=0)


@each_family
def test_strength_beyond_the_range_is_clipped(family: Family) -> None:
    scaled = family.scale(family.constrain(started(family)), torch.full((3,), 1e3))
    for name, spec in PARAMETERS[family.name].items():
        assert scaled[name].min() >= spec.low and scaled[name].max() <= spec.high


@each_family
@pytest.mark.parametrize("size", [0.0, 1e-6, 0.2, 1.0])
def test_starts_from_a_perturbation_as_one_arm(family: Family, size: float) -> None:
    perturbation = size * (2 * torch.rand(SHAPE, generator=torch.Generator().manual_seed(2)) - 1)
    raw, begun = started(family), family.start_from(perturbation)
    assert set(begun) <= set(raw)
    for name, value in begun.items():
        assert value.shape == raw[name][0].shape and torch.isfinite(value).all()


def test_patch_by_hand() -> None:
    mask = torch.zeros(1, 4, 4)
    mask[0, 0, 0] = 1
    mask[0, 1, 0] = 0.5
    parameters = {"mask": mask, "pattern": torch.zeros(1, 3, 4, 4)}
    assert Patch().cost(parameters).item() == pytest.approx(1.5 / 16)
    # Down the columns the mask changes by 0.5 twice, along the rows by 1 and 0.5; 12 pairs each.
    rough = 1 / 12 + 1.5 / 12
    assert Patch(total_variation=0.1).penalty(parameters).item() == pytest.approx(10 * (1.5 / 16 + 0.1 * rough))


@pytest.mark.parametrize(
    ("strength", "opaque", "half"),
    [(0.5, 0.5, 0.25), (1, 1, 0.5), (1.5, 1, 1 - 0.5**1.5), (2, 1, 0.75), (4, 1, 15 / 16)],
)
def test_a_patch_beyond_strength_one_is_stacked(strength: float, opaque: float, half: float) -> None:
    # Given mask values 1, 0.5 and 0: below 1 the mask is fainter, beyond it the patch is laid on again.
    parameters = {"mask": torch.tensor([[[1.0, 0.5, 0.0]]]), "pattern": torch.rand(1, 3, 1, 3)}
    scaled = Patch().scale(parameters, torch.tensor([strength]))
    assert scaled["mask"].flatten().tolist() == pytest.approx([opaque, half, 0])
    assert torch.equal(scaled["pattern"], parameters["pattern"])


@each_family
def test_a_stronger_trigger_never_costs_less(family: Family) -> None:
    parameters = {name: value[:1].repeat(41, *[1] * (value.dim() - 1)) for name, value in
                  family.constrain(started(family)).items()}  # fmt: skip
    cost = family.cost(family.scale(parameters, torch.linspace(0, 4, 41)))
    assert (cost[1:] > cost[:-1]).all()


def test_patches_begin_half_open_and_are_not_begun_elsewhere() -> None:
    mask = Patch().constrain(started(Patch(), arms=20))["mask"]
    assert mask.mean().item() == pytest.approx(0.5, abs=0.02) and 0.1 < mask.min() < 0.4
    assert Patch().start_from(torch.full(SHAPE, 0.2)) == {}


def test_additive_by_hand() -> None:
    delta = torch.zeros(1, 1, 2, 2)
    delta[0, 0, 0] = torch.tensor([0.3, -0.4])
    assert Additive().cost({"delta": delta}).item() == pytest.approx(0.25)
    assert Additive().penalty({"delta": delta}).item() == pytest.approx(2.5, rel=1e-5)
    assert Additive().constrain({"delta": 10 * delta})["delta"].abs().max() == 1


def test_additive_starts_along_the_perturbation() -> None:
    perturbation = torch.rand(SHAPE) - 0.5
    begun = Additive().start_from(perturbation)["delta"]
    cosine = (begun * perturbation).sum() / (begun.norm() * perturbation.norm())
    assert cosine.item() == pytest.approx(1, abs=1e-6) and begun.norm() > 0


@pytest.mark.parametrize(
    "module",
    [
        "auditor.search",
        *(f"auditor.search.{name}" for name in ("patch", "additive", "lowfreq", "warp", "generator")),
        "auditor.unlearn",
    ],
)
def test_strategies_load_no_torch_until_they_are_used(module: str) -> None:
    code = f"import {module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_every_family_is_named_by_its_key_and_shown_by_its_fields() -> None:
    for name, family in FAMILIES.items():
        assert family.name == name and repr(family).startswith(type(family).__name__)
        assert np.isfinite([family.learning_rate, family.initial_multiplier]).all()


def test_every_family_has_its_words() -> None:
    assert list(FAMILY_WORDS) == list(FAMILIES)
