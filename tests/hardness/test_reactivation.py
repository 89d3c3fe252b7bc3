"""A perturbation beside the trigger wakes a sleeping backdoor, and nothing else, within its bound."""

from __future__ import annotations

import planted
import torch
from sleepers import ASLEEP, subject

from auditor.hardness.reactivation import Beside, Reactivation, reactivate

WITHIN = Reactivation(epsilon=16 / 255)


def test_only_the_sleeping_backdoor_wakes() -> None:
    asleep = subject(planted.planted(ASLEEP))
    own, *others = reactivate(asleep, [planted.TARGET, *asleep.references], WITHIN)
    assert own >= 16
    assert others == [0, 0, 0]


def test_an_honest_model_answers_to_none() -> None:
    honest = subject(planted.planted(0.0))
    assert reactivate(honest, [planted.TARGET, *honest.references], WITHIN) == [0, 0, 0, 0]


def test_the_perturbation_is_bounded_and_shared_by_all_images() -> None:
    family = Beside(trigger=planted.corner_trigger(), epsilon=0.1)
    delta = family.constrain({"delta": torch.full((1, 3, planted.SIDE, planted.SIDE), 5.0)})
    images, _ = planted.planted_images(3)

    changed = family.stamp(delta, images[None])[0]

    expected = (planted.corner_trigger().stamp(images) + 0.1).clamp(0, 1)
    torch.testing.assert_close(changed, expected)
    assert family.cost(delta).tolist() == [0.0]
