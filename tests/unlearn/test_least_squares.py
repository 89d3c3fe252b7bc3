"""Layerwise refitting: the closed form against numbers worked by hand, and every kind of layer."""

from __future__ import annotations

import threading

import pytest
import torch
import torch.nn.functional as F
import unlearn_tasks as tasks
from planted import CLASSES, SIDE, planted
from torch import Tensor, nn

from auditor.events import drain
from auditor.suspect import Suspect
from auditor.triggers import Trigger
from auditor.unlearn import least_squares
from auditor.unlearn.least_squares import (
    Refitter,
    can_be_refitted,
    layers_in_order,
    places_of,
    rows,
    stamp_about,
    weights,
)
from auditor.unlearn.refit import Refit

LAYERS = {
    "plain": nn.Conv2d(4, 6, 3, padding=1, bias=False),
    "strided and biased": nn.Conv2d(4, 6, 3, stride=2),
    "grouped": nn.Conv2d(4, 6, (3, 1), groups=2, padding=(1, 0)),
    "depthwise": nn.Conv2d(4, 8, 3, groups=4, dilation=2),
    "linear": nn.Linear(4, 5),
}


@pytest.mark.parametrize("name", LAYERS)
def test_rows_times_weights_are_the_layers_outputs(name: str) -> None:
    layer = LAYERS[name]
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    torch.manual_seed(0)
    seen = torch.rand(3, 4) if isinstance(layer, nn.Linear) else torch.rand(3, 4, 9, 8)
    with torch.no_grad():
        said = layer(seen)

    x_GPD = torch.cat(list(rows(layer, seen, torch.arange(places_of(layer, seen)))), dim=1)

    bias_GO = torch.zeros(()) if layer.bias is None else layer.bias.detach().view(len(x_GPD), 1, -1)
    said_GPO = said.view(3, len(x_GPD), said.shape[1] // len(x_GPD), -1).permute(1, 0, 3, 2).flatten(1, 2)
    assert torch.allclose(x_GPD @ weights(layer) + bias_GO, said_GPO, atol=1e-5)


def test_only_the_places_asked_for_are_seen() -> None:
    layer, seen = LAYERS["plain"], torch.rand(3, 4, 9, 8)
    assert isinstance(layer, nn.Conv2d)
    assert places_of(layer, seen) == 72

    [every], [some] = list(rows(layer, seen, torch.arange(72))), list(rows(layer, seen, torch.tensor([5, 70])))

    assert torch.equal(some.view(3, 2, -1), every.view(3, 72, -1)[:, [5, 70]])


class Scale(nn.Module):
    """One weight a class on the image's mean brightness: a refit that can be worked by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 2, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[2.0], [0.0]]))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(images.mean((1, 2, 3))[:, None])
        return logits


def test_one_weight_by_hand() -> None:
    """Clean images of brightness 1, stamped ones of 3: x'x = 1 + 9, x'y = 2 + 3 * 2, scale = 0.5 * 10."""
    task = tasks.make_task(Suspect(Scale(), num_classes=2, input_shape=(3, SIDE, SIDE)))
    refitter = Refitter(task, 4, 4, (1.0, 1.0))
    ones = torch.ones(4, 3, SIDE, SIDE)
    refitter.clean, refitter.stamped = refitter.part(ones, ones), refitter.part(3 * ones, ones)

    assert refitter.refit(0, weight=1.0, ridge=0.5) == 2

    expected = (2 + 3 * 2 + 5 * 2) / (10 + 5)
    head = refitter.model.module.get_submodule("head")
    assert isinstance(head, nn.Linear)
    assert torch.allclose(head.weight, torch.tensor([[expected], [0.0]]))


@pytest.mark.parametrize(("asked", "most", "looked_at"), [(40, 2**23, 40), (90, 2**23, 90), (900, 0, 128)])
def test_as_many_images_are_looked_at_as_are_asked_for_and_affordable(
    asked: int, most: int, looked_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the 60 work images a part, or all with variants; where images are large, no more than 128 of a kind."""
    monkeypatch.setattr(least_squares, "MOST_PIXELS", most)
    refitter = Refitter(tasks.make_task(), asked, asked, (1.0, 1.0))
    assert len(refitter.clean.images) == len(refitter.stamped.images) == looked_at


def test_pieces_make_the_same_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, pieces = Refitter(tasks.make_task(), 60, 40, (1.0, 1.0)), Refitter(tasks.make_task(), 60, 40, (1.0, 1.0))
    whole.refit(0, 1.0, 0.1)
    monkeypatch.setattr(least_squares, "MOST_NUMBERS", 1)
    pieces.refit(0, 1.0, 0.1)

    first, second = whole.model.state(), pieces.model.state()
    assert all(torch.allclose(first[name], second[name], atol=1e-5) for name in first)


def test_without_a_trigger_to_unlearn_nothing_changes() -> None:
    suspect = planted()
    task = tasks.make_task(suspect)
    refitter = Refitter(task, 60, 40, (1.0, 1.0))
    refitter.stamped = refitter.part(refitter.clean.images, refitter.clean.images)

    for index in range(len(refitter.layers)):
        refitter.refit(index, 1.0, 0.1)

    before, after = suspect.state(), refitter.model.state()
    assert all(torch.allclose(before[name], after[name], atol=1e-4) for name in before)


class Odd(nn.Module):
    """A layer run twice, one padded by reflection, one never run, and one as usual."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Conv2d(3, 3, 1)
        self.reflected = nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")
        self.idle = nn.Linear(2, 2)
        self.head = nn.Linear(3, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.reflected(self.twice(F.relu(self.twice(images)))).mean((2, 3)))
        return logits


def test_layers_that_cannot_be_refitted_are_left_as_they_are() -> None:
    suspect = Suspect(Odd(), num_classes=CLASSES, input_shape=(3, SIDE, SIDE))
    task = tasks.make_task(suspect)

    assert layers_in_order(suspect, task.images[:1]) == {"head": 3}
    assert not can_be_refitted(nn.Conv2d(1, 1, 3, padding="same")) and not can_be_refitted(nn.ReLU())

    before, after = suspect.state(), drain(Refit().run(task)).state()
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["head.weight"]


def test_passing_through_once_refits_as_passing_anew_for_every_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    suspect = planted()
    once = drain(Refit(clean_images=150, stamped_images=150).run(tasks.make_task(suspect))).state()
    monkeypatch.setattr(least_squares, "MOST_WALKED", 0)
    before = suspect.meter.forward_images
    anew = drain(Refit(clean_images=150, stamped_images=150).run(tasks.make_task(suspect))).state()

    assert suspect.meter.forward_images - before > 300 * len(layers_in_order(suspect, tasks.make_task().images[:1]))
    assert any(not torch.equal(once[name], was) for name, was in suspect.state().items())
    assert all(torch.allclose(once[name], anew[name], atol=1e-5) for name in once)


def test_a_refit_that_is_left_leaves_no_pass_waiting() -> None:
    run = Refit(clean_images=60, stamped_images=60).run(tasks.make_task())
    next(run)
    waiting = threading.active_count()
    run.close()
    assert threading.active_count() == waiting - 2


def test_a_trigger_moved_stays_whole_and_leaves_the_image_where_it_is() -> None:
    """A white pixel in the middle of black images lands within two pixels of it, on half of the batches right there."""
    mask = torch.zeros(SIDE, SIDE)
    mask[SIDE // 2, SIDE // 2] = 1
    trigger = Trigger(
        family="patch", target_class=0, parameters={"mask": mask.numpy(), "pattern": torch.ones(3, SIDE, SIDE).numpy()}
    )
    images = torch.zeros(320, 3, SIDE, SIDE)
    images[:, :, 0, 0] = 0.5

    stamped = stamp_about(images, [trigger], (1.0, 1.0), torch.Generator().manual_seed(0))

    assert (stamped[:, 0, 0, 0] == 0.5).all() and (stamped == 1).flatten(1).sum(1).eq(3).all()
    found = (stamped[:, 0] == 1).nonzero()[:, 1:] - SIDE // 2
    assert found.abs().max() == 2 and 0.3 < (found == 0).all(1).float().mean() < 0.8
