"""Fine-tuning, plain and sharpness-aware: the perturbation worked by hand, and what training may touch."""

from __future__ import annotations

import planted
import pytest
import torch
import unlearn_tasks as tasks
from torch import Tensor, nn

from auditor.events import drain
from auditor.suspect import Suspect
from auditor.unlearn.baselines.fine_tuning import batches, learning, perturbation, plain, sharpness_aware
from auditor.unlearn.baselines.ft import FT_PUBLISHED, Ft
from auditor.unlearn.baselines.ft_sam import FT_SAM_PUBLISHED, FtSam


def test_the_perturbation_by_hand() -> None:
    """w = (1, -2; 0), g = (3, 2; 7): |w| g = (3, 4; 0) of norm 5, so e = rho / 5 (1 * 3, 2 * 4; 0)."""
    weights, gradients = [torch.tensor([1.0, -2.0]), torch.tensor([0.0])], [torch.tensor([3.0, 2.0]), torch.tensor([7.0])]

    moves = perturbation(weights, gradients, rho=0.5)

    assert torch.allclose(moves[0], torch.tensor([0.3, 0.8])) and moves[1].item() == 0
    relative = torch.cat([moves[0] / weights[0]])
    assert float(relative.norm()) == pytest.approx(0.5)
    assert not any(move.any() for move in perturbation(weights, [torch.zeros(2), torch.zeros(1)], rho=2.0))


def test_sharpness_aware_gradients_by_hand() -> None:
    """Of w^3 at 1: e = rho, so the gradient is 3 (1 + rho)^2, and w is 1 again."""
    weight = torch.tensor([1.0], requires_grad=True)

    (gradient,), losses = sharpness_aware([weight], lambda: weight.pow(3).sum(), rho=0.5)

    assert gradient.item() == pytest.approx(3 * 1.5**2)
    assert losses == {"clean": pytest.approx(1.0), "perturbed": pytest.approx(1.5**3)}
    assert weight.item() == 1.0
    assert plain([weight], lambda: weight.pow(3).sum())[0][0].item() == pytest.approx(3.0)


def test_weights_come_back_after_an_error_halfway() -> None:
    weight, calls = torch.tensor([1.0], requires_grad=True), []

    def loss() -> Tensor:
        calls.append(1)
        if len(calls) == 2:
            raise KeyError
        return weight.sum()

    with pytest.raises(KeyError):
        sharpness_aware([weight], loss, rho=0.5)
    assert weight.item() == 1.0


def test_every_image_is_in_one_batch() -> None:
    parts = list(batches(10, 3, torch.Generator().manual_seed(0)))

    assert [len(part) for part in parts] == [4, 3, 3]
    assert sorted(torch.cat(parts).tolist()) == list(range(10))


def normed() -> Suspect:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 6))
    return Suspect(module, num_classes=6, input_shape=(3, 16, 16))


@pytest.mark.parametrize("frozen", [True, False])
def test_statistics_are_frozen_or_learned(frozen: bool) -> None:
    suspect = normed()

    model = drain(Ft(epochs=1, batch_size=64, frozen_statistics=frozen).run(tasks.make_task(suspect)))

    assert torch.equal(model.state()["1.running_mean"], suspect.state()["1.running_mean"]) is frozen
    assert not torch.equal(model.state()["1.weight"], suspect.state()["1.weight"])
    assert not model.module.training


def test_one_image_is_no_batch_to_learn_statistics_from() -> None:
    suspect = normed()

    model = drain(Ft(epochs=1, frozen_statistics=False).run(tasks.make_task(suspect, count=1)))

    assert torch.equal(model.state()["1.running_var"], suspect.state()["1.running_var"])


def test_learning_is_undone_also_by_an_error() -> None:
    model = normed()

    with pytest.raises(KeyError), learning(model, frozen_statistics=False):
        assert model.module.training
        raise KeyError

    assert not model.module.training and not any(p.requires_grad for p in model.module.parameters())


@pytest.mark.parametrize("method", [Ft(epochs=4, learning_rate=0.05), FtSam(epochs=4, learning_rate=0.05, rho=0.1)])
def test_tuning_fits_labels(method: Ft) -> None:
    """Against labels all moved on by one, the network has much to learn."""
    task = tasks.make_task(planted.planted())
    task.labels[:] = (task.labels + 1) % planted.CLASSES
    losses = [event.losses for event in method.run(task)]  # type: ignore[attr-defined]

    assert len(losses) == 4
    assert all(after[name] < before[name] for before, after in zip(losses[:1], losses[-1:], strict=True) for name in before)


def test_published_settings() -> None:
    for published in (FT_PUBLISHED, FT_SAM_PUBLISHED):
        assert (published.learning_rate, published.momentum, published.batch_size, published.epochs) == (0.01, 0.9, 256, 100)
        assert not published.frozen_statistics
    assert FT_SAM_PUBLISHED.rho == 2.0
