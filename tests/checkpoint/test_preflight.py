"""Preflight: a working classifier passes; every wrong reading is named with its next step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from real_networks import MEAN, SHARED, STD, normalized_test_images, state_of
from torch import Tensor, nn

from auditor.checkpoint import nets
from auditor.checkpoint.architectures import build
from auditor.checkpoint.normalization import infer_normalization
from auditor.checkpoint.preflight import accuracy_bar, check, live_gradients, spread
from auditor.metrics import wilson
from auditor.normalizations import KNOWN
from auditor.suspect import Suspect

K = 10


class Painted(nn.Module):
    """Knows the class by the strongest of K pixels in the top row: a classifier with exact answers."""

    def __init__(self, scale: float = 8.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x[:, 0, 0, :K]


def painted(count: int) -> tuple[Tensor, np.ndarray]:
    labels = np.arange(count) % K
    images = torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(0)) * 0.3
    images[torch.arange(count), 0, 0, torch.from_numpy(labels)] = 1.0
    return images, labels


def suspect_of(module: nn.Module, classes: int = K) -> Suspect:
    return Suspect(module, num_classes=classes, input_shape=(3, 12, 12))


@pytest.mark.parametrize("count", [10, 40, 500])
def test_a_working_classifier_passes_with_and_without_labels(count: int) -> None:
    images, labels = painted(count)
    labelled, unlabelled = (check(suspect_of(Painted()), images, given) for given in (labels, None))
    assert labelled.ok and unlabelled.ok, (labelled.reasons, unlabelled.reasons)
    assert labelled.clean_accuracy and labelled.clean_accuracy.rate == 1.0
    assert unlabelled.clean_accuracy is None
    assert labelled.live_gradients == 1.0


@pytest.mark.parametrize(("classes", "bar"), [(2, 0.55), (10, 0.15), (43, 1.5 / 43), (1000, 0.0015)])
def test_the_bar_is_chance_and_a_margin(classes: int, bar: float) -> None:
    assert accuracy_bar(classes) == pytest.approx(bar)


@pytest.mark.parametrize(("images", "classes", "fewest"), [(10, 10, 4), (500, 10, 91), (10, 2, 9), (100, 43, 8)])
def test_how_many_right_answers_the_bar_asks_for(images: int, classes: int, fewest: int) -> None:
    passing = [hits for hits in range(images + 1) if wilson(hits, images).low > accuracy_bar(classes)]
    assert passing[0] == fewest


def test_shuffled_class_order_is_named() -> None:
    images, labels = painted(100)
    result = check(suspect_of(Painted()), images, (labels + 1) % K)
    assert not result.ok
    assert "clean accuracy 0 % (0 of 100 images) is not above chance (10.0 %)" in result.reasons[0]
    assert "class order" in result.reasons[0] and "--classes" in result.reasons[0]


def test_too_few_images_to_tell_asks_for_more() -> None:
    images, labels = painted(10)
    labels = labels.copy()
    labels[:7] = (labels[:7] + 1) % K
    result = check(suspect_of(Painted()), images, labels)
    assert not result.ok and "give more images" in result.reasons[0]


class Constant(nn.Module):
    def __init__(self, alive: bool) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.eye(K)[3] * 5)
        self.alive = alive

    def forward(self, x: Tensor) -> Tensor:
        signal = x.mean((1, 2, 3)).view(-1, 1) * torch.arange(K) * 1e-3
        return self.bias + (signal if self.alive else signal.detach() * 0)


def test_constant_predictions_and_dead_gradients_are_named() -> None:
    images, labels = painted(50)
    alive, dead = (check(suspect_of(Constant(flag)), images, labels) for flag in (True, False))
    assert alive.reasons and "50 of 50 images are predicted as class 3" in alive.reasons[0]
    assert alive.live_gradients == 1.0
    assert dead.live_gradients == 0.0 and "input gradient" in dead.reasons[0]
    assert not check(suspect_of(Constant(True)), images, None).ok


def test_a_very_confident_network_is_not_called_dead() -> None:
    images, _ = painted(20)
    assert live_gradients(suspect_of(Painted(1e6)), images) == 1.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(bad: float) -> None:
    images, labels = painted(20)
    result = check(suspect_of(Painted(bad)), images, labels)
    assert not result.ok and "scale" in result.reasons[0] and "NaN or infinity" in result.reasons[0]


def test_negative_variance_and_infinite_logits_are_named() -> None:
    images, labels = painted(20)
    network = nets.create("resnet20", K)
    network.get_submodule("bn1").running_var.fill_(-1.0)
    assert "variance" in check(suspect_of(network), images, labels).reasons[0]
    overflow = nn.Sequential(Painted(1e38), Scale())
    assert "NaN or infinite" in check(suspect_of(overflow), images, labels).reasons[0]


class Scale(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 1e30


def test_no_images_is_a_reason_and_not_an_error() -> None:
    result = check(suspect_of(Painted()), torch.zeros(0, 3, 12, 12), None)
    assert not result.ok and "--clean" in result.reasons[0]


def test_unlabelled_hesitation_is_named() -> None:
    images, _ = painted(40)
    result = check(suspect_of(Painted(1e-3)), images, None)
    assert not result.ok and "confidence" in result.reasons[0]


def test_spread_is_one_for_even_and_zero_for_constant_predictions() -> None:
    assert spread(torch.eye(K).repeat(3, 1)) == pytest.approx(1.0)
    assert spread(torch.eye(K)[:1].repeat(30, 1)) == 0.0


class Trained(nn.Module):
    """Right only under one normalisation: the class is the pixel nearest to what that makes of white."""

    def __init__(self, name: str) -> None:
        super().__init__()
        mean, std = KNOWN[name].mean[0], KNOWN[name].std[0]
        self.white = nn.Parameter(torch.tensor((1.0 - mean) / std))

    def forward(self, x: Tensor) -> Tensor:
        return -20 * (x[:, 0, 0, :K] - self.white).abs()


@pytest.mark.parametrize("name", ["imagenet", "none", "half"])
def test_the_normalisation_with_the_best_accuracy_wins(name: str) -> None:
    images, labels = painted(60)
    # Decoys that look like white under the other normalisations
    images[:, 0, 0, :K] *= 0.9
    images[torch.arange(60), 0, 0, torch.from_numpy(labels)] = 1.0
    choice = infer_normalization(Trained(name), images, labels, K, 3)
    assert choice.how == "inferred" and choice.labelled
    assert choice.scores[choice.name] == 1.0 == choice.scores[name]


def test_no_images_leave_the_default() -> None:
    assert infer_normalization(Painted(), torch.zeros(0, 3, 12, 12), None, K, 3).how == "default"


class Normed(nn.Module):
    """A batch-norm that saw the images under one normalisation, and logits that hardly mind another."""

    def __init__(self, name: str, images: Tensor) -> None:
        super().__init__()
        known = KNOWN[name]
        self.first = nn.BatchNorm2d(3)
        seen = (images - torch.tensor(known.mean).view(-1, 1, 1)) / torch.tensor(known.std).view(-1, 1, 1)
        self.first.running_mean, self.first.running_var = seen.mean((0, 2, 3)), seen.var((0, 2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.one_hot((self.first(x)[:, 0, 0, :K]).argmax(1), K).float()


@pytest.mark.parametrize("name", list(KNOWN))
@pytest.mark.parametrize("labelled", [True, False])
def test_of_those_that_score_alike_the_one_the_batch_norm_knows_wins(name: str, labelled: bool) -> None:
    images, labels = painted(60)
    images = 0.5 * images + 0.5 * torch.rand(images.shape, generator=torch.Generator().manual_seed(1))
    suspect = Suspect(Normed(name, images).eval(), num_classes=K, input_shape=(3, 12, 12))

    choice = infer_normalization(suspect, images, labels if labelled else None, K, 3)

    assert choice.name == name and choice.how == "inferred"
    assert not any(layer._forward_pre_hooks for layer in suspect.module.modules())


def test_a_normalisation_that_scores_worse_is_not_taken_for_its_statistics() -> None:
    images, labels = painted(60)
    images[:, 0, 0, :K] *= 0.9
    images[torch.arange(60), 0, 0, torch.from_numpy(labels)] = 0.6  # white, read with half's statistics as none's

    class Misled(Normed):
        def forward(self, x: Tensor) -> Tensor:
            self.first(x)
            return nn.functional.one_hot((x[:, 0, 0, :K] - 0.2).abs().argmin(1), K).float()

    choice = infer_normalization(Misled("none", images), images, labels, K, 3)
    assert choice.scores["half"] - choice.scores["none"] > 0.1 and choice.name != "none"


BASE = SHARED / "zoo" / "bases" / "pre16_s201" / "model.pt"


@pytest.mark.skipif(not BASE.exists(), reason="the shared zoo of real checkpoints is absent")
@pytest.mark.parametrize("labelled", [True, False])
def test_a_real_network_passes_and_its_normalisation_is_found(labelled: bool) -> None:
    images, labels = normalized_test_images(100)
    images = images * torch.tensor(STD).view(-1, 1, 1) + torch.tensor(MEAN).view(-1, 1, 1)
    built, given = build(state_of(BASE)), labels if labelled else None
    choice = infer_normalization(built.module, images, given, K, 3)
    assert choice.name == "imagenet"  # by its batch-norm statistics: cifar10's score as well
    suspect = Suspect(built.module, num_classes=K, input_shape=(3, 32, 32), mean=tuple(choice.normalization.mean),
                      std=tuple(choice.normalization.std))  # fmt: skip
    result = check(suspect, images, given)
    assert result.ok, result.reasons


@pytest.mark.skipif(not BASE.exists(), reason="the shared zoo of real checkpoints is absent")
def test_a_real_network_read_as_pixels_in_255_does_not_pass() -> None:
    images, labels = normalized_test_images(100)
    built = build(state_of(BASE))
    suspect = Suspect(built.module, num_classes=K, input_shape=(3, 32, 32), mean=(0.0,), std=(1 / 255,))
    result = check(suspect, images, (labels + 3) % K)
    assert not result.ok
