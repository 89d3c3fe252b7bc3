"""Filter pruning: which batch-norm belongs to which convolution, and masks that hold."""

from __future__ import annotations

import pytest
import torch
import unlearn_tasks as tasks
from torch import Tensor, nn

from auditor.checkpoint import nets
from auditor.events import drain
from auditor.suspect import Suspect
from auditor.unlearn import filters
from auditor.unlearn.filters import FilterPruner, conv_layers, following_norms, split_by_class
from auditor.unlearn.prune import Prune
from auditor.unlearn.tuning import Tuning, tune


def suspect(module: nn.Module, size: int = 32) -> Suspect:
    return Suspect(module, num_classes=6, input_shape=(3, size, size))


def norms_by_name(model: Suspect) -> dict[str, str]:
    """Convolution -> the batch-norm found to follow it, both by name."""
    names = {id(module): name for name, module in model.module.named_modules()}
    norms = following_norms(model, torch.rand(1, *model.input_shape))
    return {conv: names[id(norm)] for conv, norm in norms.items()}


def test_norms_of_a_resnet_follow_their_convolutions() -> None:
    model = suspect(nets.create("resnet20", 6))

    found = norms_by_name(model)

    assert set(found) == {name for name, _ in conv_layers(model.module)}
    assert found["conv1"] == "bn1"
    assert found["layer2.0.conv1"] == "layer2.0.bn1"
    assert all(norm == conv.replace("conv", "bn") for conv, norm in found.items())


def test_norms_of_a_preactivation_network_do_not_follow_by_number() -> None:
    model = suspect(nets.create("preact_resnet18", 6, width=8))

    found = norms_by_name(model)

    # Within a block conv1 feeds bn2; conv2 and the projection end in a sum, which no norm may be masked for.
    assert found["layer1.0.conv1"] == "layer1.0.bn2"
    assert found["conv1"] == "layer1.0.bn1"
    assert not [name for name in found if name.endswith("conv2") or "shortcut" in name]


def test_a_forward_pass_leaves_no_hooks() -> None:
    model = suspect(nets.create("resnet20", 6))

    following_norms(model, torch.rand(1, 3, 32, 32))

    assert not [m for m in model.module.modules() if m._forward_hooks or m._forward_pre_hooks]


class Small(nn.Module):
    """Two convolutions with batch-norms, one with a bias, and an auxiliary one that is never run."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.auxiliary = nn.Conv2d(8, 4, 1)
        self.head = nn.Linear(8 * 16, 6)

    def forward(self, images: Tensor) -> Tensor:
        hidden = torch.relu(self.bn1(self.conv1(images)))
        hidden = torch.relu(self.bn2(self.conv2(hidden)))
        logits: Tensor = self.head(nn.functional.adaptive_avg_pool2d(hidden, 4).flatten(1))
        return logits


@pytest.fixture
def pruner() -> FilterPruner:
    return FilterPruner(tasks.make_task(suspect(Small(), 16)))


def rounds(pruner: FilterPruner, share: float = 0.3) -> list[int]:
    return [done.number for done in pruner.rounds(accuracy_budget=1.0, patience=99, share=share)]


def test_a_round_prunes_one_filter_whole(pruner: FilterPruner) -> None:
    numbers = rounds(pruner)

    pruned = {name: (mask == 0).nonzero().flatten().tolist() for name, mask in pruner.masks.items()}
    assert numbers == list(range(1, len(numbers) + 1))
    assert sum(map(len, pruned.values())) == len(numbers) == pruner.most_rounds(0.3)
    for name, indices in pruned.items():
        layer, norm = pruner.layers[name], pruner.norms.get(name)
        for index in indices:
            assert not layer.weight[index].any()
            assert layer.bias is None or layer.bias[index] == 0
            assert norm is None or norm.weight[index] == norm.bias[index] == 0


def test_a_pruned_filter_passes_nothing_on(pruner: FilterPruner) -> None:
    pruner.masks["conv1"][3] = 0
    pruner.apply_masks()

    hidden = pruner.model.module.bn1(pruner.model.module.conv1(torch.rand(2, 3, 16, 16)))

    # The running mean of a batch-norm shifts a silent filter; with weight and bias at zero it is silent too.
    assert not hidden[:, 3].any()
    assert hidden[:, 2].any()


def test_no_layer_is_pruned_bare(pruner: FilterPruner) -> None:
    rounds(pruner, share=1.0)

    used = ("conv1", "conv2")
    assert all(int(pruner.masks[name].sum()) >= 1 for name in used)


def test_masks_stay_zero_after_tuning(pruner: FilterPruner) -> None:
    # Given a pruned model whose every parameter the tuning step may move
    rounds(pruner)
    before = {name: mask.clone() for name, mask in pruner.masks.items()}
    task = pruner.task
    settings = Tuning(epochs=2, steps_per_epoch=3, learning_rate=0.1)

    for _ in tune(pruner.model, task.suspect, task.images, task.labels, task.triggers, settings, seed=0,
                  after_step=pruner.apply_masks):  # fmt: skip
        pass

    for name, mask in pruner.masks.items():
        assert torch.equal(mask, before[name])
        assert not pruner.layers[name].weight[mask == 0].any()
        if name in pruner.norms:
            assert not pruner.norms[name].weight[mask == 0].any()
            assert not pruner.norms[name].bias[mask == 0].any()
    assert pruner.parameters_pruned == sum(
        int((mask == 0).sum()) * pruner.layers[name].weight[0].numel() for name, mask in pruner.masks.items()
    )


def test_the_best_state_comes_back(pruner: FilterPruner) -> None:
    losses = [done.loss for done in pruner.rounds(accuracy_budget=1.0, patience=99, share=0.5)]

    pruner.keep_best()

    assert min(losses) == pruner.best[0]
    assert pruner._judge()[1] == pytest.approx(min(losses), abs=1e-5)


def test_pruning_stops_when_accuracy_is_spent() -> None:
    task = tasks.make_task()
    spent = FilterPruner(task)

    list(spent.rounds(accuracy_budget=-1.0, patience=99, share=1.0))
    spent.keep_best()

    assert tasks.same_weights(spent.model, task.suspect)


def test_the_suspect_is_not_touched(pruner: FilterPruner) -> None:
    before = pruner.task.suspect.state()

    rounds(pruner)

    assert all(torch.equal(value, before[name]) for name, value in pruner.task.suspect.state().items())


def test_a_network_without_convolutions_is_tuned_alone() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 6))

    model = drain(Prune(tuning_epochs=2).run(tasks.make_task(suspect(module, 16))))

    assert all(bool(torch.isfinite(value).all()) for value in model.state().values())


def test_every_class_of_two_has_an_image_held_out() -> None:
    labels = torch.tensor([0] * 20 + [1] * 2 + [2])

    held, seen = split_by_class(labels, torch.Generator().manual_seed(0))

    assert labels[held].tolist() == [0, 0, 1]
    assert sorted(torch.cat([held, seen]).tolist()) == list(range(23))


@pytest.mark.parametrize(("labels", "held", "seen"), [([0, 1, 2], 1, 2), ([0], 1, 1)])
def test_with_lone_images_one_is_held_out(labels: list[int], held: int, seen: int) -> None:
    found = split_by_class(torch.tensor(labels), torch.Generator().manual_seed(0))

    assert [len(part) for part in found] == [held, seen]


def test_gradients_are_of_all_images_however_many_go_at_once(pruner: FilterPruner, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pruner._scores()
    monkeypatch.setattr(filters, "images_at_once", lambda _: 5)
    parts = pruner._scores()

    assert all(torch.allclose(parts[name], score, rtol=0.05, atol=1e-4) for name, score in whole.items())


def test_tuning_stops_without_progress_and_keeps_the_best(pruner: FilterPruner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The objective, before any epoch and after each: lowest after the second, then no better three times."""
    objectives = iter([5.0, 4.0, 3.0, 3.5, 3.0, 9.0, 1.0])
    monkeypatch.setattr(pruner, "_objective", lambda _: next(objectives))
    states = [pruner.model.state() for _ in pruner.tune(Tuning(epochs=6, steps_per_epoch=1), patience=3)]

    pruner.keep_best()

    assert len(states) == 5
    kept = pruner.model.state()
    assert all(torch.equal(value, states[1][name]) for name, value in kept.items())
    assert not all(torch.equal(value, states[4][name]) for name, value in kept.items())


def test_without_patience_tuning_runs_to_the_end(pruner: FilterPruner, monkeypatch: pytest.MonkeyPatch) -> None:
    objectives = iter([1.0, 2.0, 3.0])
    monkeypatch.setattr(pruner, "_objective", lambda _: next(objectives))
    states = [pruner.model.state() for _ in pruner.tune(Tuning(epochs=2, steps_per_epoch=1), patience=0)]

    pruner.keep_best()

    assert len(states) == 2
    assert all(torch.equal(value, states[1][name]) for name, value in pruner.model.state().items())


def test_tuning_leaves_validation_images_alone(pruner: FilterPruner, monkeypatch: pytest.MonkeyPatch) -> None:
    tuned: list[Tensor] = []
    monkeypatch.setattr(filters, "tune", lambda *arguments, **_: tuned.append(arguments[2]) or iter(()))

    for patience in (1, 0):
        list(pruner.tune(Tuning(), patience=patience))

    assert torch.equal(tuned[0], pruner.task.images[pruner.seen])
    assert torch.equal(tuned[1], pruner.task.images)
    assert not set(pruner.seen.tolist()) & set(pruner.held.tolist())
