"""Activation-guided editing: scales by hand, both ways to choose what to forget, statistics and repair."""

from __future__ import annotations

import planted
import pytest
import torch
import unlearn_tasks as tasks
from torch import Tensor, nn

from auditor.errors import UsageError
from auditor.events import drain
from auditor.suspect import Suspect
from auditor.unlearn.activations import EPSILON, Editor, Setting
from auditor.unlearn.edit import Edit
from auditor.unlearn.method import Reading, Task

FRESH, FRESH_LABELS = planted.planted_images(60, seed=11)
HEAD = Setting(1, 2.0, 0.5)


class Channels(nn.Module):
    """A linear layer, with weights of one, on the mean of each colour."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2, bias=False)
        with torch.no_grad():
            self.head.weight.fill_(1.0)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(images.mean((2, 3)))
        return logits


def head(editor: Editor) -> Tensor:
    weight = editor.model.module.get_parameter("head.weight")
    return weight.detach()


def test_scales_by_hand() -> None:
    """f = (0.8, 0.3, 0.1) and r = (0.2, 0.2, 0.4): with gamma 2 the first channel alone is chosen."""
    editor = Editor(tasks.make_task(Suspect(Channels(), num_classes=2, input_shape=(3, 16, 16))))
    editor.forget, editor.retain = {"head": torch.tensor([0.8, 0.3, 0.1])}, {"head": torch.tensor([0.2, 0.2, 0.4])}

    assert editor.edit(HEAD) == 2
    scale = 1 - 0.5 * 0.6 / (0.8 + EPSILON)
    assert torch.allclose(head(editor), torch.tensor([[scale, 1.0, 1.0]] * 2))
    # Each edit starts from the original weights
    assert editor.edit(Setting(1, 1.2, 1.0)) == 4
    assert torch.allclose(head(editor)[0], torch.tensor([1 - 0.6 / (0.8 + EPSILON), 1 - 0.1 / (0.3 + EPSILON), 1.0]))
    editor.undo()
    assert torch.equal(head(editor), torch.ones(2, 3))


def coloured_task(labels: list[int]) -> Task:
    """Images of which those of the target class are red, and the others green."""
    task = tasks.make_task(Suspect(Channels(), num_classes=planted.CLASSES, input_shape=(3, 16, 16)), count=len(labels))
    task.labels[:] = torch.tensor(labels)
    task.images[:] = 0.1
    for image, label in zip(task.images, labels, strict=True):
        image[0 if label == planted.TARGET else 1] = 0.9
    return task


def test_without_a_trigger_the_target_class_is_forgotten() -> None:
    editor = Editor(coloured_task([planted.TARGET, 0, 1]), "target")

    editor.edit(Setting(1, 2.0, 1.0))

    assert torch.allclose(editor.forget["head"], torch.tensor([0.9, 0.1, 0.1]))
    assert torch.allclose(editor.retain["head"], torch.tensor([0.1, 0.9, 0.1]))
    assert head(editor)[0].tolist() == pytest.approx([1 - 0.8 / (0.9 + EPSILON), 1.0, 1.0])
    assert len(editor.practised) == 3  # nothing is stamped


@pytest.mark.parametrize("labels", [[0, 1, 2], [planted.TARGET] * 3])
def test_forgetting_a_class_takes_images_of_it_and_of_others(labels: list[int]) -> None:
    with pytest.raises(UsageError, match="target class"):
        Editor(coloured_task(labels), "target")


def test_the_least_sufficient_share_is_found() -> None:
    """The triggers are said to work while the first weight is above 0.7, that is up to lam 0.4."""
    task = tasks.make_task(Suspect(Channels(), num_classes=2, input_shape=(3, 16, 16)))
    editor = Editor(task)
    editor.forget, editor.retain = {"head": torch.tensor([1e6, 1.0, 1.0])}, {"head": torch.tensor([1.0, 1.0, 1.0])}

    def monitor(model: Suspect) -> Reading:
        works = float(model.module.get_parameter("head.weight")[0, 0]) > 0.6
        return Reading(clean_accuracy=1.0, attack_success_rate=float(works))

    object.__setattr__(task, "monitor", monitor)
    editor.weaken(Setting(1, 2.0, 1.0), enough=0.1, bisections=6)

    assert 0.4 <= 1 - head(editor)[0, 0].item() <= 0.4 + 1 / 2**6 + 1e-3


def test_a_share_that_never_suffices_stays() -> None:
    task = tasks.make_task()
    object.__setattr__(task, "monitor", lambda _: Reading(clean_accuracy=1.0, attack_success_rate=1.0))
    editor = Editor(task)
    editor.edit(HEAD)
    before = editor.model.state()

    editor.weaken(HEAD, enough=0.1, bisections=2)

    assert all(torch.equal(value, before[name]) for name, value in editor.model.state().items())


def test_statistics_are_those_of_the_clean_images() -> None:
    task = tasks.make_task(planted.planted(batch_norm=True))
    editor = Editor(task, refresh_statistics=True)

    editor.edit(HEAD)

    norm = editor.model.module.get_submodule("norm")
    assert isinstance(norm, nn.BatchNorm2d)
    seen = editor.model.module.get_submodule("look")(task.images)
    assert torch.allclose(norm.running_mean, seen.mean((0, 2, 3)), atol=1e-4)  # type: ignore[arg-type]
    assert torch.allclose(norm.running_var, seen.var((0, 2, 3)), atol=1e-4)  # type: ignore[arg-type]
    assert not norm.training and norm.momentum == 0.1
    editor.undo()
    assert torch.equal(norm.running_mean, torch.zeros(2))  # type: ignore[arg-type]


def test_an_edit_of_the_planted_network_spares_the_honest_twin() -> None:
    trigger = planted.corner_trigger()
    edited = drain(Edit().run(tasks.make_task()))
    twin = planted.planted(0.0)
    spared = drain(Edit().run(tasks.make_task(twin)))

    assert tasks.flips(edited, trigger, FRESH, FRESH_LABELS) <= 0.1
    assert tasks.accuracy(spared, FRESH, FRESH_LABELS) == tasks.accuracy(twin, FRESH, FRESH_LABELS)


def test_repair_that_wakes_the_trigger_is_undone() -> None:
    task = tasks.make_task()
    object.__setattr__(task, "monitor", lambda _: Reading(clean_accuracy=1.0, attack_success_rate=1.0))
    editor = Editor(task)
    editor.edit(Setting(1, 1.2, 1.0))
    before = editor.model.state()

    editor.repair(steps=2, learning_rate=0.1, enough=0.1)
    assert all(torch.equal(value, before[name]) for name, value in editor.model.state().items())

    editor.repair(steps=2, learning_rate=0.1, enough=1.0)
    assert not torch.equal(head(editor), before["head.weight"])
