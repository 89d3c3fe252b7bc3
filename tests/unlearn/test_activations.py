"""Scaling down what the target class excites: scales by hand, and what is chosen to be forgotten."""

from __future__ import annotations

import planted
import pytest
import torch
import unlearn_tasks as tasks
from torch import Tensor, nn

from auditor.errors import UsageError
from auditor.suspect import Suspect
from auditor.unlearn.activations import EPSILON, Editor, Setting
from auditor.unlearn.method import Task

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
    editor = Editor(coloured_task([planted.TARGET, 0, 1]))
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


def test_what_the_target_class_excites_is_scaled_down() -> None:
    editor = Editor(coloured_task([planted.TARGET, 0, 1]))

    editor.edit(Setting(1, 2.0, 1.0))

    assert torch.allclose(editor.forget["head"], torch.tensor([0.9, 0.1, 0.1]))
    assert torch.allclose(editor.retain["head"], torch.tensor([0.1, 0.9, 0.1]))
    assert head(editor)[0].tolist() == pytest.approx([1 - 0.8 / (0.9 + EPSILON), 1.0, 1.0])


@pytest.mark.parametrize("labels", [[0, 1, 2], [planted.TARGET] * 3])
def test_forgetting_a_class_takes_images_of_it_and_of_others(labels: list[int]) -> None:
    with pytest.raises(UsageError, match="target class"):
        Editor(coloured_task(labels))
