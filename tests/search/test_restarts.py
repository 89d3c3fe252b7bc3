"""Where the restarts of a search begin, and which of them go on."""

from __future__ import annotations

import math
import types

import numpy as np
import pytest
import torch
from planted import CLASSES, SIDE, TARGET, planted, planted_images

from auditor.adversarial import Family
from auditor.events import Control, drain
from auditor.search import FAMILIES
from auditor.search.budgets import Budget
from auditor.search.shared import SharedSearch
from auditor.search.synthesis import Candidate, best_restarts, start_from_shared, synthesize


def state(best_cost: list[float], flipped: list[float]) -> types.SimpleNamespace:
    return types.SimpleNamespace(best_cost=torch.tensor(best_cost), flipped=torch.tensor(flipped))


def test_the_cheapest_restart_of_each_class_goes_on() -> None:
    # Given three restarts of two classes, restart by restart.
    inf = float("inf")
    arms = state([0.3, inf, 0.1, 0.5, 0.2, 0.4], [1.0, 0.9, 1.0, 1.0, 1.0, 1.0])
    assert best_restarts(arms, 2).tolist() == [2, 5]  # type: ignore[arg-type]


def test_without_any_success_the_nearest_restart_goes_on() -> None:
    arms = state([float("inf")] * 4, [0.10, 0.20, 0.13, 0.24])
    assert best_restarts(arms, 2).tolist() == [2, 3]  # type: ignore[arg-type]


def test_a_restart_that_flipped_enough_goes_before_any_that_did_not() -> None:
    # Given successes however dear, and restarts that flip many images but were never cheap enough to keep.
    arms = state([float("inf"), 50.0, float("inf"), 0.2, float("inf"), 1e6], [1.0, 0.0, 0.99, 0.5, 0.95, 0.0])
    assert best_restarts(arms, 3).tolist() == [3, 1, 5]  # type: ignore[arg-type]


def shared_toward_target(histogram: np.ndarray) -> SharedSearch:
    """A shared search that found the red corner, faintly, toward TARGET and nothing else."""
    perturbation = torch.zeros(CLASSES, 3, SIDE, SIDE)
    perturbation[TARGET, 0, 14:, 14:] = 0.2
    return SharedSearch(histogram=histogram, perturbation=perturbation, images=8)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_shared_perturbations_start_the_first_restart_of_their_class(family: Family) -> None:
    targets = torch.tensor([3, TARGET, 3, TARGET])
    raw = family.start(4, (3, SIDE, SIDE), torch.Generator().manual_seed(0))
    kept = {name: value.clone() for name, value in raw.items()}
    shared = shared_toward_target(np.zeros(CLASSES, int))
    begun = start_from_shared(family, raw, shared, targets, classes=2)
    first = family.start_from(shared.perturbation[TARGET])
    for name, value in begun.items():
        assert torch.equal(raw[name], kept[name]) and torch.equal(value[[0, 2, 3]], raw[name][[0, 2, 3]])
        assert torch.equal(value[1], first.get(name, raw[name][1]))


def test_a_search_takes_up_what_was_shared_where_that_helps() -> None:
    images, labels = planted_images()
    found = shared_toward_target(np.eye(CLASSES, dtype=int)[TARGET])
    brief = Budget(restarts=1, first_steps=0, steps=5, refine_steps=0)

    def toward_target(start: SharedSearch | None) -> dict[str, Candidate]:
        result = drain(
            synthesize(
                planted(), images, labels, classes=range(CLASSES), budget=brief, seed=0, control=Control(), shared=start
            )
        )
        return {c.family: c for c in result.candidates if c.target_class == TARGET}

    with_it, without = toward_target(found), toward_target(None)
    assert with_it["additive"].cost is not None
    assert with_it["additive"].cost < 0.8 * (without["additive"].cost or math.inf)
    # Then a mask begins everywhere, whatever was shared.
    for name, value in without["patch"].trigger.parameters.items():
        np.testing.assert_array_equal(with_it["patch"].trigger.parameters[name], value)
