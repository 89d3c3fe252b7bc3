"""`anp`: pruning the neurons that a little noise on the batch-norms turns against the labels.

Source: Wu and Wang, Adversarial Neuron Pruning Purifies Backdoored Deep Models, NeurIPS 2021. Ours is
the choice of the threshold, by accuracy on the work images: published sweeps look at the true ASR.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditor.events import Event
from auditor.unlearn.method import Task, step_event

if TYPE_CHECKING:
    from auditor.suspect import Suspect

REPORTS = 20


@dataclass(frozen=True, kw_only=True)
class Anp:
    """Learn a mask m in [0, 1] of every batch-normed channel, then prune those below a threshold:

        min over m of  alpha * L(m) + (1 - alpha) * max over |d|, |e| <= epsilon of L(m + d, e),

    L the cross-entropy of the network with weights (m + d) * weight and biases (1 + e) * bias in its
    batch-norms. The threshold rises by `threshold_step`, up to `most_threshold`, while accuracy on the
    work images has lost no more than `accuracy_budget`.
    """

    epsilon: float = 0.4
    alpha: float = 0.2
    iterations: int = 500
    learning_rate: float = 0.05
    momentum: float = 0.9
    batch_size: int = 32
    threshold_step: float = 0.05
    most_threshold: float = 0.9
    accuracy_budget: float = 0.2
    name: str = "anp"
    is_reconstruction: bool = False

    def run(self, task: Task) -> Generator[Event, None, Suspect]:
        """Sanitize a copy of the suspect; about every twentieth of the iterations is an event.

        Raises UsageError for a network without batch-norms.
        """
        from auditor.unlearn.baselines.neuron_masks import NeuronMasks

        masks = NeuronMasks(task, self)
        every = max(1, self.iterations // REPORTS)
        for done in range(every, self.iterations + every, every):
            losses = masks.learn(every)
            # Nothing is pruned yet: the model is as it was.
            yield step_event(self.name, done, self.iterations + every, task.monitor(masks.model), losses, 0)
            if task.control.stop_requested:
                break
        pruned = masks.prune(self.threshold_step, self.most_threshold, self.accuracy_budget)
        steps = self.iterations + every
        yield step_event(self.name, steps, steps, task.monitor(masks.model), {}, pruned)
        return masks.model


ANP_PUBLISHED = Anp(iterations=2000, learning_rate=0.2, batch_size=128, accuracy_budget=0.1)
