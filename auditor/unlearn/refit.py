"""`refit`: every layer fitted anew, in closed form, to give clean answers to triggered inputs.

Ours. Activation-guided editing (Hsieh et al., 2024, arXiv 2407.07662) asks which activations a
trigger changes; layerwise least squares answers how the weights must change for it, as editing of
language models does (Meng et al., MEMIT, ICLR 2023) and layerwise pruning (Frantar and Alistarh,
2022). No gradient passes backward, and a few dozen images suffice: a convolution sees each of
their places.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditor.events import Event
from auditor.unlearn.method import Task, step_event

if TYPE_CHECKING:
    from auditor.suspect import Suspect
    from auditor.unlearn.solving import Solve

REPORTS = 20


@dataclass(frozen=True, kw_only=True)
class Refit:
    """Each convolution and linear layer, from the first to the last, gets the weights W' that minimise

        mean |W' x - y|^2 + weight * mean |W' x' - y'|^2 + ridge * scale * |W' - W|^2,

    x and x' its inputs on clean and on stamped images in the network refitted so far, y and y' what
    the suspect's layer puts out on the same images without a trigger, scale the mean square of an
    input. `clean_images` and `stamped_images` say how many are looked at, shifted and mixed variants
    of the work images making up the number (fewer where images are large); triggers are stamped at
    strengths drawn from `strength` and half of them moved by up to two pixels, since the one found
    is as a rule a weaker relative of the true one.
    """

    weight: float = 1.0
    ridge: float = 0.6
    strength: tuple[float, float] = (0.5, 3.0)
    clean_images: int = 1024
    stamped_images: int = 1024
    name: str = "refit"
    is_reconstruction: bool = False

    def run(self, task: Task) -> Generator[Event, None, Suspect]:
        """Sanitize a copy of the suspect; about every twentieth of the layers is an event."""
        from auditor.unlearn.solving import new_weights

        return (yield from self.layer_by_layer(task, new_weights))

    def layer_by_layer(self, task: Task, solve: Solve) -> Generator[Event, None, Suspect]:
        """Solve for the layers of a copy of the suspect in turn."""
        from auditor.unlearn.least_squares import Refitter

        refitter = Refitter(task, self.clean_images, self.stamped_images, self.strength)
        steps, changed = len(refitter.layers), 0
        with closing(refitter):
            for step in range(1, steps + 1):
                changed += refitter.refit(step - 1, self.weight, self.ridge, solve)
                if step % max(1, steps // REPORTS) == 0 or step == steps:
                    yield step_event(self.name, step, steps, task.monitor(refitter.model), {}, changed)
                if task.control.stop_requested:
                    break
        return refitter.model
