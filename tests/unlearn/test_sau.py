"""Shared adversarial unlearning: the same losses as a plain reading of its formulas, at half the forward passes."""

from __future__ import annotations

from dataclasses import replace

import planted
import pytest
import torch
import torch.nn.functional as F
import unlearn_tasks as tasks
from torch import Tensor, nn

from auditor import adversarial
from auditor.events import Control, UnlearnStep, drain
from auditor.suspect import Suspect
from auditor.unlearn import shared_attack
from auditor.unlearn.sau import PUBLISHED, Sau
from auditor.unlearn.shared_attack import SharedAttack
from auditor.unlearn.shared_risk import FLOOR, SharedUnlearner, adapting_norms

IMAGES, LABELS = planted.planted_images(24, seed=4)


@pytest.fixture
def in_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adversarial, "has_bfloat16", lambda _: False)


def small_network(seed: int = 0) -> Suspect:
    """A network with batch-norms, fitted to the planted images for a few steps."""
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Flatten(), nn.Linear(8 * 6 * 6, planted.CLASSES),
    )  # fmt: skip
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(15):
        optimizer.zero_grad()
        F.cross_entropy(module(IMAGES), LABELS).backward()
        optimizer.step()
    return Suspect(module, num_classes=planted.CLASSES, input_shape=(3, planted.SIDE, planted.SIDE))


def reference_delta(h: Suspect, h0: Suspect, x: Tensor, y: Tensor, s: Sau) -> Tensor:
    """The inner problem, every term with forward passes of its own: four a step."""
    delta = torch.full_like(x, s.epsilon)
    for _ in range(s.steps):
        delta = delta.detach().requires_grad_(True)
        z, z0 = h(x + delta), h0(x + delta)
        with torch.no_grad():
            fooled, fooled0 = z.argmax(1) != h(x).argmax(1), z0.argmax(1) != h0(x).argmax(1)
        shared = fooled & fooled0 & (z.argmax(1) == z0.argmax(1))
        if bool(shared.all()):
            break
        attack = F.cross_entropy(z, y, reduction="none")[~fooled].sum() + F.cross_entropy(z0, y, reduction="none")[~fooled0].sum()
        p, q = z.softmax(1), z0.softmax(1)
        mean = (p + q) / 2
        divergence = ((p * (p / mean).log()).sum(1) + (q * (q / mean).log()).sum(1)) / 2
        loss = (-s.attack_weight * attack / 2 + s.agreement_weight * divergence[~shared].sum()) / len(x)
        (gradient,) = torch.autograd.grad(loss, delta)
        delta = (delta.detach() - s.step_size * gradient.sign()).clamp(-s.epsilon, s.epsilon)
    return delta.detach()


def reference_rounds(suspect: Suspect, x: Tensor, y: Tensor, s: Sau) -> list[dict[str, float]]:
    """The loss terms of each round, the outer problem written from its formula."""
    h, h0, found = suspect.clone(), suspect, []
    optimizer = torch.optim.Adam(h.module.parameters(), lr=s.learning_rate)
    for _ in range(s.rounds):
        delta = reference_delta(h, h0, x, y, s)
        h.module.requires_grad_(True)
        said = h0(x + delta).argmax(1)
        at_risk = (said != y) & (said != h0(x).argmax(1))
        adversarial_logits = h(x + delta)
        p = adversarial_logits.softmax(1)[torch.arange(len(x)), said].clamp_min(FLOOR)[at_risk]
        terms = {
            "clean": F.cross_entropy(h(x), y), "shared_risk": -(1 - p).log().sum() / len(x),
            "adversarial": F.cross_entropy(adversarial_logits, y),
        }  # fmt: skip
        optimizer.zero_grad()
        loss = s.clean_weight * terms["clean"] + s.shared_weight * terms["shared_risk"] + s.adversarial_weight * terms["adversarial"]
        loss.backward()
        optimizer.step()
        h.module.requires_grad_(False)
        found.append({name: float(term.detach()) for name, term in terms.items()})
    return found


@pytest.mark.parametrize(("epsilon", "adversarial_weight"), [(0.2, 0.0), (0.05, 0.3)])
def test_the_losses_are_those_of_the_formulas_at_half_the_forward_passes(
    epsilon: float, adversarial_weight: float, in_full_precision: None
) -> None:
    settings = replace(
        PUBLISHED, rounds=4, learning_rate=0.01, epsilon=epsilon, step_size=epsilon / 2, adversarial_weight=adversarial_weight
    )
    plain, task = small_network(), tasks.make_task(small_network(), count=24)
    expected = reference_rounds(plain, task.images, task.labels, settings)

    unlearner = SharedUnlearner(task, settings)
    once = task.suspect.meter.forward_images
    found = [unlearner.round() for _ in range(settings.rounds)]

    for ours, theirs in zip(found, expected, strict=True):
        assert ours["clean"] == pytest.approx(theirs["clean"], abs=1e-4)
        assert ours["shared_risk"] == pytest.approx(theirs["shared_risk"], abs=1e-4)
        if adversarial_weight:
            assert ours["adversarial"] == pytest.approx(theirs["adversarial"], abs=1e-4)
    assert any(terms["shared_risk"] > 0.1 for terms in expected)
    passes = settings.rounds * len(task.images)
    assert once == 2 * len(task.images)
    assert task.suspect.meter.forward_images - once <= 12 * passes
    assert task.suspect.meter.forward_images < 0.6 * plain.meter.forward_images


def test_a_round_in_which_nothing_is_shared_takes_twelve_forward_passes() -> None:
    """At a tiny epsilon nothing flips, so that every image moves to the end: five passes of the model and,
    its first known beforehand, five of the suspect; then the clean pass and the perturbed one of the outer loss."""
    settings = replace(PUBLISHED, epsilon=1e-3, step_size=1e-3, adversarial_weight=1.0)
    task = tasks.make_task(count=24)
    unlearner = SharedUnlearner(task, settings)
    before = task.suspect.meter.forward_images

    unlearner.round()

    assert before == 2 * 24
    assert task.suspect.meter.forward_images - before == 12 * 24


def test_the_jacobian_at_the_start_spares_a_pass_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, in_full_precision: None
) -> None:
    suspect, model = small_network(), small_network(1)
    picks, clean = torch.arange(24), torch.from_numpy(model.predict(IMAGES))
    known = SharedAttack(suspect, IMAGES, LABELS)
    monkeypatch.setattr(shared_attack, "MOST_CLASSES", 0)
    unknown = SharedAttack(suspect, IMAGES, LABELS)
    assert known.start is not None and unknown.start is None

    spent = []
    found = []
    for attack in (known, unknown):
        before = suspect.meter.forward_images
        found.append(attack.search(model, picks, clean))
        spent.append(suspect.meter.forward_images - before)

    torch.testing.assert_close(found[0].images, found[1].images)
    assert torch.equal(found[0].said, found[1].said)
    assert spent[1] - spent[0] == 24


def test_the_search_reports_what_the_suspect_says_within_epsilon() -> None:
    suspect = small_network()
    model = suspect.clone()
    model.module[-1].bias.data += torch.linspace(-0.5, 0.5, planted.CLASSES)  # type: ignore[index, union-attr]
    clean = torch.from_numpy(model.predict(IMAGES))

    found = SharedAttack(suspect, IMAGES, LABELS, epsilon=0.1).search(model, torch.arange(24), clean)

    assert (found.images - IMAGES).abs().max() <= 0.1 + 1e-6
    assert found.said.tolist() == suspect.predict(found.images).tolist()
    assert 0 < int(found.shared.sum()) < 24
    shared = found.images[found.shared]
    assert (suspect.predict(shared) == model.predict(shared)).all()


def test_nothing_to_search_is_no_forward_pass() -> None:
    suspect = planted.planted()
    attack = SharedAttack(suspect, IMAGES, LABELS)
    before = suspect.meter.forward_images

    found = attack.search(suspect.clone(), torch.arange(0), torch.arange(0))

    assert found.images.shape == (0, *IMAGES.shape[1:])
    assert suspect.meter.forward_images == before


def test_a_trigger_at_hand_is_unlearned_with_the_shared_examples() -> None:
    trigger, suspect = planted.corner_trigger(), planted.planted()
    fresh, labels = planted.planted_images(60, seed=8)

    model = drain(Sau(rounds=15, learning_rate=0.02).run(tasks.make_task()))

    assert tasks.flips(suspect, trigger, fresh, labels) == 1
    assert tasks.flips(model, trigger, fresh, labels) <= 0.05
    assert tasks.accuracy(model, fresh, labels) >= 0.98


def test_without_triggers_every_image_is_searched() -> None:
    unlearner = SharedUnlearner(tasks.make_task(triggers=[]), Sau())

    terms = unlearner.round()

    assert terms["stamped"] == 0
    assert terms["shared_risk"] > 0


def test_an_honest_network_barely_changes() -> None:
    honest = planted.planted(0.0)
    fresh, _ = planted.planted_images(60, seed=8)

    model = drain(Sau().run(tasks.make_task(honest)))

    assert tasks.moved(model, honest) < 0.01
    assert (model.predict(fresh) == honest.predict(fresh)).mean() >= 0.98


def test_batch_norm_follows_clean_images_only_when_adaptive() -> None:
    suspect = small_network()
    frozen, adaptive = (drain(Sau(rounds=2, batch_norm=how).run(tasks.make_task(suspect.clone()))).state()
                        for how in ("frozen", "adaptive"))  # fmt: skip
    before = suspect.state()

    assert torch.equal(frozen["1.running_mean"], before["1.running_mean"])
    assert torch.equal(frozen["1.running_var"], before["1.running_var"])
    assert not torch.equal(adaptive["1.running_mean"], before["1.running_mean"])
    # Statistics of clean images only: what the first convolution puts out on them, not on perturbed ones.
    assert (adaptive["1.running_mean"] - before["1.running_mean"]).abs().max() < 0.1


def test_adapting_norms_trains_norms_alone_and_is_undone_by_an_error() -> None:
    module = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout()).eval()

    with pytest.raises(KeyError), adapting_norms(module, True):
        assert module[0].training and not module[1].training
        raise KeyError

    assert not module[0].training
    with adapting_norms(module, False):
        assert not module[0].training


def test_stop_keeps_the_best_round() -> None:
    control = Control()
    task = tasks.make_task(control=control)
    steps: list[UnlearnStep] = []
    running = Sau(rounds=40, learning_rate=0.02).run(task)
    with pytest.raises(StopIteration) as end:
        while True:
            steps.append(next(running))  # type: ignore[arg-type]
            if len(steps) == 3:
                control.stop()

    assert len(steps) == 4
    kept, seen = steps[-1], steps[:-1]
    assert kept.proxy_attack_success_rate == min(step.proxy_attack_success_rate for step in seen)
    assert task.monitor(end.value.value).attack_success_rate == kept.proxy_attack_success_rate
