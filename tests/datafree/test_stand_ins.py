"""Made-up images: of the right shape and range, photograph-like in their spectrum, and chosen by the suspect's answers."""

from __future__ import annotations

import pytest
import torch
from planted import SIDE, planted
from torch import Tensor, nn

from auditor.datafree import stand_ins as made_up
from auditor.datafree.stand_ins import POOL, dead_leaves, fields, stand_ins
from auditor.suspect import Suspect


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 17, 24)])
def test_images_of_any_shape_are_in_range_and_all_different(shape: tuple[int, int, int]) -> None:
    images = dead_leaves(12, shape, generator())
    assert images.shape == (12, *shape) and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1 and 0.1 < images.std() < 0.4
    assert len({image.numpy().tobytes() for image in images}) == 12
    assert torch.equal(images, dead_leaves(12, shape, generator())) and not torch.equal(images, dead_leaves(12, shape, generator(1)))


def test_a_field_is_smooth_and_its_channels_are_partly_alike() -> None:
    noise = fields(64, (3, 32, 32), generator())
    assert noise.mean().abs() < 1e-5 and noise.std() == pytest.approx(1, abs=0.1)
    beside = (noise[..., :-1] * noise[..., 1:]).mean()
    of_channels = (noise[:, 0] * noise[:, 1]).mean()
    assert beside > 0.5 and 0.5 < of_channels < 0.8


class Brightness(nn.Module):
    """Dark images are class 0, by far most; bright ones class 1, rarely, and the brighter the surer; class 2 never."""

    def forward(self, images: Tensor) -> Tensor:
        bright = 40 * (images.mean((1, 2, 3)) - 0.6)
        logits: Tensor = torch.stack([torch.zeros_like(bright), bright, torch.full_like(bright, -99.0)], dim=1)
        return logits


def test_the_surest_images_are_taken_as_evenly_over_the_answers_as_can_be() -> None:
    suspect = Suspect(Brightness(), num_classes=3, input_shape=(3, 8, 8))
    images, answers = stand_ins(suspect, 6, seed=0)

    every = dead_leaves(POOL * 6, (3, 8, 8), generator()).mean((1, 2, 3))
    assert sorted(answers.tolist()) == [0, 0, 0, 1, 1, 1]
    assert torch.allclose(images.mean((1, 2, 3))[answers == 1].sort().values, every.sort().values[-3:], atol=1e-5)
    assert torch.equal(answers, torch.from_numpy(suspect.predict(images)))


def test_one_answer_to_everything_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    suspect = Suspect(Brightness(), num_classes=3, input_shape=(3, 8, 8))
    monkeypatch.setattr(made_up, "dead_leaves", lambda count, *_: torch.zeros(count, 3, 8, 8))
    images, answers = stand_ins(suspect, 5, seed=0)
    assert len(images) == 5 and answers.tolist() == [0] * 5


def test_fewer_are_made_where_images_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made_up, "MOST_MADE", 10 * SIDE * SIDE)
    suspect = planted()
    assert len(stand_ins(suspect, 4, seed=0)[0]) == 4 and suspect.meter.forward_images == 10
    assert len(stand_ins(suspect, 12, seed=0)[0]) == 12


def test_the_planted_network_passes_the_pool_once() -> None:
    suspect = planted()
    images, _ = stand_ins(suspect, 4, seed=0)
    assert images.shape == (4, 3, SIDE, SIDE) and suspect.meter.forward_images == POOL * 4
