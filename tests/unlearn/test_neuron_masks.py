"""Adversarial neuron pruning: mask steps and noise by hand, and a backdoor that sits in one channel."""

from __future__ import annotations

import math

import planted
import pytest
import torch
import unlearn_tasks as tasks
from torch import Tensor, nn

from auditor.errors import UsageError
from auditor.suspect import Suspect
from auditor.unlearn.baselines.anp import ANP_PUBLISHED, Anp
from auditor.unlearn.baselines.neuron_masks import NeuronMasks, Noise


class One(nn.Module):
    """One batch-normed channel z = weight x + bias on the mean brightness, and logits (z, 0)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(1, eps=0.0)
        with torch.no_grad():
            self.norm.weight.fill_(2.0)
            self.norm.bias.fill_(-1.0)

    def forward(self, images: Tensor) -> Tensor:
        channel = self.norm(images.mean((1, 2, 3))[:, None])
        return torch.cat([channel, torch.zeros_like(channel)], dim=1)


def one(**settings: float) -> NeuronMasks:
    suspect = Suspect(One(), num_classes=2, input_shape=(3, 4, 4))
    return NeuronMasks(tasks.make_task(suspect), Anp(**settings))  # type: ignore[arg-type]


ONES, SECOND = torch.ones(1, 3, 4, 4), torch.ones(1, dtype=torch.int64)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_noise_raises_the_loss_and_stays_within_epsilon() -> None:
    """Toward the first class, away from the label: a larger weight, and a smaller share of the negative bias."""
    masks = one(epsilon=0.4)

    noise = masks.worst_noise(ONES, SECOND)

    assert 0 <= noise.weight["norm"].item() <= 0.4
    assert -0.4 <= noise.bias["norm"].item() <= 0
    assert float(masks.loss(ONES, SECOND, noise).detach()) > float(masks.loss(ONES, SECOND).detach())


def test_a_mask_step_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clean z = 2 - 1, noisy z = 1.25 * 2 - 0.5 * 1; dL/dm = 2 sigmoid(z) for the second class."""
    masks = one(alpha=0.2, learning_rate=0.1)
    monkeypatch.setattr(masks, "worst_noise", lambda *_: Noise({"norm": torch.tensor([0.25])}, {"norm": torch.tensor([-0.5])}))

    losses = masks.update(ONES, SECOND)

    slope = 0.2 * 2 * sigmoid(1.0) + 0.8 * 2 * sigmoid(2.0)
    assert masks.masks["norm"].item() == pytest.approx(1 - 0.1 * slope, abs=1e-3)
    assert losses == {"clean": pytest.approx(math.log(1 + math.e), abs=1e-2),
                      "noisy": pytest.approx(math.log(1 + math.exp(2)), abs=1e-2)}  # fmt: skip


def test_masks_stay_between_zero_and_one() -> None:
    masks = one(learning_rate=100.0)

    masks.update(ONES, 1 - SECOND)
    assert masks.masks["norm"].item() == 1.0
    masks.optimizer.state.clear()
    masks.update(ONES, SECOND)
    assert masks.masks["norm"].item() == 0.0


def planted_masks() -> NeuronMasks:
    """Masks of the planted network's brightness and redness channels."""
    return NeuronMasks(tasks.make_task(planted.planted(batch_norm=True)), Anp())


def set_masks(masks: NeuronMasks, *values: float) -> None:
    masks.masks["norm"].data = torch.tensor(values)


def test_pruning_the_red_channel_removes_the_trigger() -> None:
    masks = planted_masks()
    set_masks(masks, 1.0, 0.3)

    assert masks.prune(threshold_step=0.05, most_threshold=0.9, accuracy_budget=0.03) == 1

    images, labels = planted.planted_images(60, seed=7)
    assert masks.model.module.get_parameter("norm.weight").tolist() == [1.0, 0.0]
    assert tasks.flips(masks.model, planted.corner_trigger(), images, labels) == 0.0
    assert tasks.accuracy(masks.model, images, labels) == 1.0


def test_a_channel_that_accuracy_needs_is_kept() -> None:
    masks = planted_masks()
    set_masks(masks, 0.5, 0.3)

    assert masks.prune(threshold_step=0.05, most_threshold=0.9, accuracy_budget=0.03) == 1
    assert masks.model.module.get_parameter("norm.weight").tolist() == [1.0, 0.0]


def test_learning_touches_the_masks_alone() -> None:
    masks = planted_masks()
    set_masks(masks, 0.01, 0.01)
    before = masks.model.state()

    losses = masks.learn(3)

    assert set(losses) == {"clean", "noisy"} and losses["noisy"] >= losses["clean"]
    assert all(torch.equal(value, before[name]) for name, value in masks.model.state().items())
    assert float(masks.masks["norm"].detach().sum()) != pytest.approx(0.02, abs=1e-6)


@pytest.mark.parametrize("count", [1, 8])
def test_masks_are_learned_by_the_statistics_of_the_batch(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the running ones noise grows from layer to layer; one image has no variance to normalise by."""
    masks, seen = planted_masks(), []
    masks.images, masks.labels = masks.images[:count], masks.labels[:count]
    norm = masks.norms["norm"]
    monkeypatch.setattr(masks, "update", lambda *_: seen.append((norm.training, norm.track_running_stats)) or {})

    masks.learn(1)

    assert seen == [(count > 1, count == 1)]
    assert not norm.training and norm.track_running_stats


def test_without_batch_norms_it_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="batch-norm") as error:
        next(Anp().run(tasks.make_task()))
    assert "--method" in error.value.next_step


def test_published_settings() -> None:
    assert (ANP_PUBLISHED.epsilon, ANP_PUBLISHED.alpha, ANP_PUBLISHED.iterations) == (0.4, 0.2, 2000)
