"""A sleeping backdoor is learnt again sooner than a new one; a model without it learns every class alike."""

from __future__ import annotations

import planted
import torch
from sleepers import ASLEEP, subject

from auditor.hardness.relearning import Relearning, choose, relearn

TWENTY = 20  # held-out images of other classes than the one probed


def first_full(hits: list[int]) -> int:
    """The first step, from 1, after which every image flips."""
    return hits.index(TWENTY) + 1


def test_a_sleeping_backdoor_returns_first() -> None:
    asleep = subject(planted.planted(ASLEEP))

    own = relearn(asleep, planted.TARGET, Relearning())
    others = [relearn(asleep, k, Relearning()) for k in asleep.references]

    assert own[0] == 0 and first_full(own) <= 6
    assert all(curve == [0] * 12 for curve in others)


def test_an_honest_model_learns_the_target_no_sooner() -> None:
    honest = subject(planted.planted(0.0))

    curves = [relearn(honest, k, Relearning()) for k in (planted.TARGET, *honest.references)]

    assert len({first_full(curve) for curve in curves}) == 1


def test_the_model_is_left_as_it_was() -> None:
    asleep = subject(planted.planted(ASLEEP))
    before = asleep.model.state()

    relearn(asleep, planted.TARGET, Relearning(steps=2))

    assert all(torch.equal(value, before[name]) for name, value in asleep.model.state().items())
    assert not any(p.requires_grad for p in asleep.model.module.parameters())


def test_the_same_images_teach_every_class() -> None:
    wide = subject(planted.planted())
    few = {tuple(choose(wide, k, 4).tolist()) for k in (planted.TARGET, *wide.references)}
    assert len(few) == 1 and len(next(iter(few))) == 4

    # When there are too few of the other classes, those of the class itself are still left out
    for k in (planted.TARGET, *wide.references):
        assert k not in wide.work_labels[choose(wide, k, 30)]


def test_only_source_classes_are_stamped() -> None:
    narrow = subject(planted.planted(), source_classes=[1])
    assert set(narrow.work_labels[choose(narrow, planted.TARGET, 9)].tolist()) == {1}
    assert len(relearn(narrow, planted.TARGET, Relearning(steps=1))) == 1
