"""A pass that waits at layers: it sees what was changed there, disturbs no other pass, and can be left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from planted import planted, planted_images
from torch import Tensor, nn

from auditor.suspect import Suspect
from auditor.unlearn.least_squares import layers_in_order
from auditor.unlearn.walking import Walk, look_at


def test_a_pass_ends_at_the_layer_asked_about() -> None:
    suspect = planted()
    images, _ = planted_images(6)
    look = suspect.module.get_submodule("look")
    later: list[str] = []
    handle = suspect.module.get_submodule("head").register_forward_hook(lambda *_: later.append("head"))

    seen: list[Tensor] = []
    look_at(suspect, ["look"], images, lambda _, found: seen.append(found))
    handle.remove()

    assert later == [] and not look._forward_pre_hooks
    assert torch.equal(seen[0], images)


def test_all_layers_are_met_in_one_pass_and_none_for_nothing() -> None:
    suspect = planted()
    images, _ = planted_images(6)
    met: list[str] = []

    look_at(suspect, list(layers_in_order(suspect, images[:1])), images, lambda name, _: met.append(name))
    assert met == list(layers_in_order(suspect, images[:1])) and len(met) > 1
    look_at(suspect, [], images, lambda name, _: met.append(name))


class Chain(nn.Module):
    """Three doublings, so that what a layer takes in tells which weights came before it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(1, 1, bias=False) for _ in range(3))
        for parameter in self.parameters():
            nn.init.constant_(parameter, 2)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.third(self.second(self.first(images.mean((1, 2, 3))[:, None])))
        return logits


ONES = torch.ones(2, 3, 4, 4)


@pytest.fixture
def model() -> Suspect:
    return Suspect(Chain(), num_classes=1, input_shape=(3, 4, 4))


@pytest.fixture
def walk(model: Suspect) -> Iterator[Walk]:
    walk = Walk(model, ["first", "second", "third"], ONES)
    yield walk
    walk.close()


def test_a_pass_goes_on_through_the_layer_as_it_is_by_then(model: Suspect, walk: Walk) -> None:
    assert walk.to("first").flatten().tolist() == [1, 1]
    nn.init.constant_(model.module.get_parameter("first.weight"), 5)
    assert walk.to("third").flatten().tolist() == [10, 10]
    assert model.meter.forward_images == 2


def test_the_model_can_be_used_while_a_pass_waits(model: Suspect, walk: Walk) -> None:
    walk.to("second")
    other = Walk(model, ["second", "third"], 2 * ONES)
    assert model.logits(ONES).flatten().tolist() == [8, 8]
    assert other.to("third").flatten().tolist() == [8, 8]
    other.close()
    assert walk.to("third").flatten().tolist() == [4, 4]


def test_nothing_is_left_of_a_pass_that_was_ended(model: Suspect, walk: Walk) -> None:
    walk.to("second")
    walk.close()
    assert not walk._thread.is_alive()
    assert not any(module._forward_pre_hooks for module in model.module.modules())


def test_a_pass_that_never_began_can_be_ended(model: Suspect) -> None:
    Walk(model, ["first"], ONES).close()
    assert model.meter.forward_images == 0


def test_a_layer_that_is_not_met_any_more_is_an_error(walk: Walk) -> None:
    walk.to("third")
    with pytest.raises(LookupError, match="first"):
        walk.to("first")


def test_what_the_model_raises_is_raised_where_it_is_waited_for(model: Suspect) -> None:
    with pytest.raises(IndexError):
        Walk(model, ["first"], torch.ones(2, 3, 4)).to("first")
