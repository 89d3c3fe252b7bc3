"""What an unlearning method is, and what it is told while it works.

A method is a frozen dataclass whose fields are its hyper-parameters. It takes the suspect, work
images and synthesized triggers, and returns a sanitized copy; the suspect is left as it was.
It never sees a true trigger, nor the images verification uses.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from auditor.events import Control, Event, UnlearnStep

if TYPE_CHECKING:
    from torch import Tensor

    from auditor.suspect import Suspect
    from auditor.triggers import Trigger


@dataclass(frozen=True)
class Reading:
    """What a monitor reads of a model in work: rates in [0, 1] on work images, and attention.

    `tar_random` is the TAR of random masks of the trigger's area on the same `heat_maps` (N, H, W).
    """

    clean_accuracy: float
    attack_success_rate: float
    tar: float | None = None
    tar_random: float | None = None
    heat_maps: NDArray[np.float32] | None = None


Monitor = Callable[["Suspect"], Reading]


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """One job for a method: `images` (N, C, H, W) in [0, 1] and `labels` (N,) are the work images;
    `triggers` are synthesized, each toward its own target class. `begun` is what an earlier method made of the
    suspect, to go on from."""

    suspect: Suspect
    images: Tensor
    labels: Tensor
    triggers: Sequence[Trigger]
    monitor: Monitor
    seed: int
    control: Control
    begun: Suspect | None = None

    def begin(self) -> Suspect:
        """A copy to work on: of what an earlier method made, or of the suspect."""
        return (self.begun or self.suspect).clone()

    def meant(self) -> Tensor:
        """Which images (N,) to stamp: all, or where every trigger minds the source those that some are meant for."""
        import torch  # not above: the command line imports this module for its help

        if not all(trigger.source_classes for trigger in self.triggers):
            return torch.ones(len(self.labels), dtype=torch.bool)
        return torch.stack([trigger.affects(self.labels.cpu()) for trigger in self.triggers]).any(0)


class Method(Protocol):
    """An unlearning method. `is_reconstruction` says that the source's equations are not public."""

    @property
    def name(self) -> str: ...

    @property
    def is_reconstruction(self) -> bool: ...

    def run(self, task: Task) -> Generator[Event, None, Suspect]:
        """Sanitize a copy of the suspect, reporting every step."""
        ...


def step_event(
    method: str, step: int, steps: int, reading: Reading, losses: dict[str, float], parameters_changed: int
) -> UnlearnStep:
    """The event of one epoch or pruning step."""
    return UnlearnStep(
        method=method, step=step, steps=steps, clean_accuracy=reading.clean_accuracy,
        proxy_attack_success_rate=reading.attack_success_rate, tar=reading.tar, tar_random=reading.tar_random,
        losses=losses, parameters_changed=parameters_changed, heat_maps=reading.heat_maps,
    )  # fmt: skip


def watched(method: Method, task: Task) -> Generator[Event, None, Suspect]:
    """Run the method, with the suspect's own reading as step 0: what its curves start from."""
    yield step_event(method.name, 0, 1, task.monitor(task.suspect), {}, 0)
    return (yield from method.run(task))


def counted(
    run: Generator[Event, None, Suspect], name: str, before: int, after: int
) -> Generator[Event, None, tuple[Suspect, int]]:  # fmt: skip
    """The run's events as those of the method `name`, with so many steps before and after; its model, and its own steps."""
    steps = 0
    try:
        while True:
            event = next(run)
            if isinstance(event, UnlearnStep):
                steps = event.steps
                event = replace(event, method=name, step=before + event.step, steps=before + steps + after)
            yield event
    except StopIteration as done:
        return done.value, steps
    finally:
        run.close()
