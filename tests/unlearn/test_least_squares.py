"""Layerwise refitting: the closed form against numbers worked by hand, and every kind of layer."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import unlearn_tasks as tasks
from planted import CLASSES, SIDE, planted, planted_images
from torch import Tensor, nn

from auditor.events import drain
from auditor.suspect import Suspect
from auditor.unlearn import least_squares
from auditor.unlearn.least_squares import Refitter, can_be_refitted, columns, layers_in_order, outputs, seen_by
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

    x_GPD, y_GPO = columns(layer, seen), outputs(layer, said)

    groups = len(x_GPD)
    weight_GDO = layer.weight.detach().view(groups, len(layer.weight) // groups, -1).transpose(1, 2)
    assert torch.allclose(x_GPD @ weight_GDO, y_GPO, atol=1e-5)


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


def test_one_weight_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clean images of brightness 1, stamped ones of 3: x'x = 1 + 9, x'y = 2 + 3 * 2, scale = 0.5 * 10."""
    task = tasks.make_task(Suspect(Scale(), num_classes=2, input_shape=(3, SIDE, SIDE)))
    refitter = Refitter(task, 4, 4, (1.0, 1.0))
    ones = torch.ones(4, 3, SIDE, SIDE)
    refitter.clean, refitter.carriers, refitter.stamped = ones, ones, 3 * ones

    assert refitter.refit(0, weight=1.0, ridge=0.5) == 2

    expected = (2 + 3 * 2 + 5 * 2) / (10 + 5)
    head = refitter.model.module.get_submodule("head")
    assert isinstance(head, nn.Linear)
    assert torch.allclose(head.weight, torch.tensor([[expected], [0.0]]))


def test_pieces_make_the_same_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, pieces = Refitter(tasks.make_task(), 60, 40, (1.0, 1.0)), Refitter(tasks.make_task(), 60, 40, (1.0, 1.0))
    whole.refit(0, 1.0, 0.1)
    monkeypatch.setattr(least_squares, "MOST_NUMBERS", 1)
    monkeypatch.setattr(least_squares, "images_at_once", lambda _: 7)
    pieces.refit(0, 1.0, 0.1)

    first, second = whole.model.state(), pieces.model.state()
    assert all(torch.allclose(first[name], second[name], atol=1e-5) for name in first)


def test_without_a_trigger_to_unlearn_nothing_changes() -> None:
    suspect = planted()
    task = tasks.make_task(suspect)
    refitter = Refitter(task, 60, 40, (1.0, 1.0))
    refitter.stamped = refitter.carriers

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

    assert layers_in_order(suspect, task.images[:1]) == ["head"]
    assert not can_be_refitted(nn.Conv2d(1, 1, 3, padding="same")) and not can_be_refitted(nn.ReLU())

    before, after = suspect.state(), drain(Refit().run(task)).state()
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["head.weight"]


def test_a_pass_ends_at_the_layer_asked_about() -> None:
    suspect = planted()
    images, _ = planted_images(6)
    look = suspect.module.get_submodule("look")
    later: list[str] = []
    handle = suspect.module.get_submodule("head").register_forward_hook(lambda *_: later.append("head"))

    seen, said = seen_by(suspect, look, images)
    handle.remove()

    assert later == [] and not look._forward_hooks
    assert torch.equal(seen, images) and said.shape == (6, 2, SIDE - 1, SIDE - 1)
