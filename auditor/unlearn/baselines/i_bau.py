"""`i_bau`: unlearning one perturbation that fools all images, by its implicit hypergradient.

Source: Zeng et al., Adversarial Unlearning of Backdoors via Implicit Hypergradient, ICLR 2022; the
hypergradient by fixed-point iterations, Grazzi et al., ICML 2020.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditor.events import Event
from auditor.unlearn.method import Task, step_event

if TYPE_CHECKING:
    from auditor.suspect import Suspect


@dataclass(frozen=True, kw_only=True)
class IBau:
    """min over w of max over d of the mean cross-entropy of f_w(x + d), with |d| <= `radius`.

    Each round ascends d by `inner_passes` steps a batch on CE - `penalty` |d|^2, then descends w by Adam,
    once a batch, along the hypergradient: how the loss changes with w, d following. Of the descent's
    images a `perturbed_share` carry d, at least one. Batch-norm statistics stay frozen.
    """

    rounds: int = 40
    learning_rate: float = 1e-3
    batch_size: int = 128
    inner_passes: int = 10
    inner_learning_rate: float = 10.0
    radius: float = 10.0
    penalty: float = 1e-3
    perturbed_share: float = 0.5
    fixed_point_steps: int = 5
    fixed_point_size: float = 0.1
    name: str = "i_bau"
    is_reconstruction: bool = False

    def run(self, task: Task) -> Generator[Event, None, Suspect]:
        """Sanitize a copy of the suspect; every round is an event."""
        from auditor.unlearn.baselines.hypergradient import Unlearner

        unlearner = Unlearner(task, self)
        for number in range(1, self.rounds + 1):
            losses = unlearner.round()
            changed = unlearner.parameters_changed
            yield step_event(self.name, number, self.rounds, task.monitor(unlearner.model), losses, changed)
            if task.control.stop_requested:
                break
        return unlearner.model


I_BAU_PUBLISHED = IBau(rounds=5, learning_rate=1e-4, inner_passes=1, perturbed_share=0.01)
