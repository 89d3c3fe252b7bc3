"""The implicit hypergradient against a bi-level problem that is solved in closed form."""

from __future__ import annotations

import pytest
import torch
import unlearn_tasks as tasks
from torch import Tensor

from auditor.events import drain
from auditor.unlearn.baselines.hypergradient import Unlearner, hypergradient
from auditor.unlearn.baselines.i_bau import I_BAU_PUBLISHED, IBau

BEND = torch.tensor([[2.0, 1.0], [0.0, -1.0]])
GOAL = torch.tensor([1.0, 3.0])
CURVE, PULL = 2.0, 0.5


def quadratic(steps: int, step_size: float) -> tuple[Tensor, Tensor]:
    """Inner CURVE / 2 |v - B w|^2, solved by v = B w; outer |v - c|^2 / 2 + PULL / 2 |w|^2. Returns (found, w)."""
    parameters = torch.tensor([0.7, -1.2], requires_grad=True)
    (found,) = hypergradient(
        lambda v: (v - GOAL).square().sum() / 2 + PULL / 2 * parameters.square().sum(),
        lambda v: CURVE / 2 * (v - BEND @ parameters).square().sum(),
        BEND @ parameters.detach(), [parameters], steps=steps, step_size=step_size,
    )  # fmt: skip
    return found, parameters.detach()


def test_hypergradient_of_a_quadratic() -> None:
    """d/dw of |B w - c|^2 / 2 + PULL / 2 |w|^2 is B'(B w - c) + PULL w."""
    found, parameters = quadratic(steps=60, step_size=0.2)

    assert torch.allclose(found, BEND.T @ (BEND @ parameters - GOAL) + PULL * parameters, atol=1e-5)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_few_steps_go_part_of_the_way(steps: int) -> None:
    """After k steps 1 - (1 - step_size CURVE)^k of the way the variable pulls."""
    found, parameters = quadratic(steps, step_size=0.1)

    share = 1 - (1 - 0.1 * CURVE) ** steps
    assert torch.allclose(found, share * BEND.T @ (BEND @ parameters - GOAL) + PULL * parameters, atol=1e-5)


def test_the_perturbation_raises_the_loss_within_its_radius() -> None:
    unlearner = Unlearner(tasks.make_task(), IBau(radius=0.5, inner_passes=4))

    perturbation, caused = unlearner._perturbation()

    assert perturbation.shape == (1, 3, 16, 16)
    assert 0 < float(perturbation.norm()) <= 0.5 + 1e-5
    clean = float(unlearner._cross_entropy(unlearner.images, torch.arange(len(unlearner.images))))
    assert caused > clean - unlearner.settings.penalty


def test_a_round_makes_the_perturbation_weaker() -> None:
    task = tasks.make_task()
    method = IBau(rounds=3, learning_rate=0.02, inner_passes=5, inner_learning_rate=1.0, radius=1.0, perturbed_share=1.0)

    losses = [event.losses["perturbed"] for event in method.run(task)]  # type: ignore[attr-defined]

    assert losses[-1] < losses[0]


def test_no_image_is_left_out_of_a_small_share() -> None:
    model = drain(IBau(rounds=1, perturbed_share=0.0).run(tasks.make_task()))

    assert not tasks.same_weights(model, tasks.make_task().suspect)


def test_published_settings() -> None:
    assert (I_BAU_PUBLISHED.rounds, I_BAU_PUBLISHED.learning_rate, I_BAU_PUBLISHED.fixed_point_steps) == (5, 1e-4, 5)
