"""Balanced unlearning: its losses and springs by hand, and a planted backdoor forgotten."""

from __future__ import annotations

import math
from dataclasses import replace

import planted
import pytest
import torch
import unlearn_tasks as tasks
from torch import nn

from auditor.events import Control, UnlearnStep, drain
from auditor.suspect import Suspect
from auditor.unlearn import forgetting
from auditor.unlearn.ascent import Ascent
from auditor.unlearn.elastic import Elastic, fisher_diagonal
from auditor.unlearn.forgetting import Forgetter, ascent_loss
from auditor.unlearn.method import Reading, Task


def linear(weights: list[list[float]]) -> Suspect:
    """Two pixels to two classes, without a bias."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    module[1].weight.data = torch.tensor(weights)
    return Suspect(module, num_classes=2, input_shape=(1, 1, 2))


def test_fisher_golden() -> None:
    """Logits are zero, so p = 1/2: the gradient of log p(y) by row k is (1[k = y] - 1/2) x.

    Images (1, 0) and (0.5, 1): squares (1/4) (1, 0) and (1/4) (1/4, 1) in either row, their mean
    (5/32, 1/8), and of all four 9/64, to which the diagonal is scaled.
    """
    images = torch.tensor([[1.0, 0.0], [0.5, 1.0]]).view(2, 1, 1, 2)

    fisher = fisher_diagonal(linear([[0.0, 0.0], [0.0, 0.0]]), images, torch.tensor([0, 1]))

    expected = torch.tensor([[5 / 32, 1 / 8], [5 / 32, 1 / 8]]) / (9 / 64)
    torch.testing.assert_close(fisher["1.weight"], expected)
    assert float(fisher["1.weight"].mean()) == pytest.approx(1)


def test_fisher_is_the_mean_of_squares_not_the_square_of_the_mean() -> None:
    """The same image under both labels: gradients cancel, their squares do not."""
    images = torch.ones(2, 1, 1, 2)

    fisher = fisher_diagonal(linear([[0.0, 0.0], [0.0, 0.0]]), images, torch.tensor([0, 1]))

    assert torch.equal(fisher["1.weight"], torch.ones(2, 2))


def test_fisher_without_gradients_is_one_everywhere_and_leaves_no_gradient() -> None:
    model = linear([[0.0, 0.0], [0.0, 0.0]])

    fisher = fisher_diagonal(model, torch.zeros(2, 1, 1, 2), torch.tensor([0, 1]))

    assert torch.equal(fisher["1.weight"], torch.ones(2, 2))
    assert all(p.grad is None and not p.requires_grad for p in model.module.parameters())


def test_springs_golden() -> None:
    """Moved by 2 where Fisher is 3: penalty 3 * 4 / 2; pulled with strength 1/3, half way back."""
    model = linear([[1.0, 0.0], [0.0, 0.0]])
    fisher = torch.tensor([[3.0, 0.0], [1.0, 1.0]])
    elastic = Elastic(model, {"1.weight": fisher})
    model.module[1].weight.data[0] += 2.0  # type: ignore[index, union-attr]

    assert elastic.penalty() == pytest.approx(6.0)
    elastic.pull(1 / 3)

    assert model.state()["1.weight"][0].tolist() == pytest.approx([2.0, 2.0])  # the other has no spring
    elastic.pull(1e9)
    assert model.state()["1.weight"][0].tolist() == pytest.approx([1.0, 2.0])


def test_bounded_ascent_golden() -> None:
    logits = torch.tensor([[3.0, 1.0], [1.0, 1.0]]).log()

    loss = ascent_loss(logits, torch.tensor([0, 1]), bounded=True)

    assert float(loss) == pytest.approx((math.log(4) + math.log(2)) / 2)


def test_unbounded_ascent_leaves_images_below_chance_alone() -> None:
    """p = 3/4 and p = 1/4 of two classes: log(3/4) alone counts, over both images."""
    logits = torch.tensor([[3.0, 1.0], [1.0, 3.0]]).log().requires_grad_(True)

    loss = ascent_loss(logits, torch.tensor([0, 0]), bounded=False)
    (gradient,) = torch.autograd.grad(loss, logits)

    assert float(loss.detach()) == pytest.approx(math.log(0.75) / 2)
    assert gradient[0].tolist() == pytest.approx([0.125, -0.125])
    assert gradient[1].tolist() == [0.0, 0.0]


# The unbounded form has no gradient where the answer is certain, as the full backdoor's is.
@pytest.mark.parametrize(("bounded", "strength"), [(True, 4.0), (False, 1.3)])
def test_the_planted_trigger_is_forgotten(bounded: bool, strength: float) -> None:
    trigger, suspect = planted.corner_trigger(), planted.planted(strength)
    fresh, labels = planted.planted_images(60, seed=8)

    model = drain(Ascent(bounded=bounded, learning_rate=0.02).run(tasks.make_task(suspect)))

    assert tasks.flips(suspect, trigger, fresh, labels) == 1
    assert tasks.flips(model, trigger, fresh, labels) <= 0.05
    assert tasks.accuracy(model, fresh, labels) >= 0.98


def test_an_honest_network_barely_changes() -> None:
    honest = planted.planted(0.0)
    fresh, _ = planted.planted_images(60, seed=8)

    model = drain(Ascent().run(tasks.make_task(honest)))

    assert tasks.moved(model, honest) < 0.01
    assert (model.predict(fresh) == honest.predict(fresh)).mean() >= 0.98


def test_no_trigger_no_change_of_answers() -> None:
    fresh, _ = planted.planted_images(60, seed=8)

    model = drain(Ascent(ascent_epochs=2, recovery_epochs=2).run(tasks.make_task(triggers=[])))

    assert (model.predict(fresh) == planted.planted().predict(fresh)).all()


def test_images_of_the_target_class_are_not_stamped_and_validation_images_not_trained_on() -> None:
    task = tasks.make_task()
    forgetter = Forgetter(task, Ascent())
    stamped, targets = forgetter._stamped()

    assert (targets == planted.TARGET).all()
    assert 0 < len(stamped) < Ascent().batch_size
    held = {image.numpy().tobytes() for image in forgetter.held}
    assert len(held) == round(0.2 * len(task.images))
    assert not held & {image.numpy().tobytes() for image in forgetter.images}
    assert len(forgetter.images) + len(held) == len(task.images)


def rebounding(task: Task, readings: list[Reading]) -> Task:
    """The task with a monitor that reads from a list."""
    listed = iter(readings)
    return replace(task, monitor=lambda _: next(listed))


def test_a_rebound_is_rolled_back_and_ends_the_recovery() -> None:
    # Given readings of the suspect, two epochs of ascent and three of recovery, the last of which rebounds
    rates = [1.0, 0.5, 0.1, 0.11, 0.12, 0.14]  # one image of 42 is 2.4 points
    readings = [Reading(clean_accuracy=1.0, attack_success_rate=rate) for rate in rates]
    settings = Ascent(ascent_epochs=2, recovery_epochs=20, recovery_learning_rate=1e-3, elastic_weight=0.0)
    unstopped = tasks.make_task()

    steps: list[UnlearnStep] = []
    states = []
    forgetter = Forgetter(unstopped, settings)
    for epoch in (forgetter.ascend, forgetter.ascend, forgetter.recover, forgetter.recover):
        epoch()
        states.append((forgetter.validation_loss(), forgetter.model.state()))
    running = settings.run(rebounding(tasks.make_task(), readings))
    with pytest.raises(StopIteration) as end:
        while True:
            steps.append(next(running))  # type: ignore[arg-type]

    assert [step.proxy_attack_success_rate for step in steps[:-1]] == rates[1:]
    _, best = min(states[1:], key=lambda pair: pair[0])
    assert all(torch.equal(value, best[name]) for name, value in end.value.value.state().items())
    assert steps[-1].proxy_attack_success_rate <= 0.12


def test_recovery_ends_when_validation_has_not_improved() -> None:
    settings = Ascent(ascent_epochs=1, recovery_epochs=20, recovery_learning_rate=0.0, patience=3, steps_per_epoch=1)

    steps = list(settings.run(tasks.make_task()))

    assert len(steps) == 1 + 3 + 1
    assert steps[-1].step == steps[-1].steps  # type: ignore[attr-defined]


def test_stop_keeps_the_best_epoch() -> None:
    control = Control()
    task = tasks.make_task(control=control)
    steps: list[UnlearnStep] = []
    running = Ascent(learning_rate=0.02).run(task)
    with pytest.raises(StopIteration) as end:
        while True:
            steps.append(next(running))  # type: ignore[arg-type]
            if len(steps) == 3:
                control.stop()

    assert len(steps) == 4
    assert steps[-1].proxy_attack_success_rate == min(step.proxy_attack_success_rate for step in steps[:-1])
    assert task.monitor(end.value.value).attack_success_rate == steps[-1].proxy_attack_success_rate
    assert set(steps[0].losses) == {"clean", "ascent", "elastic"}


def test_no_class_is_pushed_away_that_a_trigger_does_not_lead_its_images_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """All to all, by a trigger that changes nothing: every image is paired with the class after its own."""
    corner = planted.corner_trigger()
    nothing = corner.parameters | {"mask": 0 * corner.parameters["mask"]}
    moves = [replace(corner, parameters=nothing, target_class=(source + 1) % planted.CLASSES, source_classes=[source])
             for source in range(planted.CLASSES)]  # fmt: skip
    forgetter = Forgetter(tasks.make_task(triggers=moves), Ascent())
    monkeypatch.setattr(forgetting, "augment", lambda images, size, generator: (images[:size], torch.arange(min(size, len(images)))))

    stamped, targets = forgetter._stamped()

    assert torch.equal(stamped, forgetter.images[: len(stamped)]) and len(stamped) == Ascent().batch_size
    assert torch.equal(targets, (forgetter.labels[: len(stamped)] + 1) % planted.CLASSES)


@pytest.mark.parametrize(("images", "passes", "steps"), [(42, 3.4, 6), (300, 3.4, 26), (300, 0.0, 6)])
def test_an_epoch_shows_many_images_as_often_as_few(images: int, passes: float, steps: int) -> None:
    """A fifth is held back: 240 of 300 images make 816 in 3.4 passes, 25.5 batches of 32."""
    assert Forgetter(tasks.make_task(count=images), Ascent(passes=passes)).steps == steps
