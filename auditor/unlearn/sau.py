"""`sau`: shared adversarial unlearning.

Source: Wei et al., Shared Adversarial Unlearning: Backdoor Mitigation by Unlearning Shared
Adversarial Examples, NeurIPS 2023 (arXiv 2307.10562).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from auditor.events import Event
from auditor.unlearn.method import Task, step_event

if TYPE_CHECKING:
    from auditor.suspect import Suspect


@dataclass(frozen=True, kw_only=True)
class Sau:
    """Each round searches, for every image x of label y, a perturbation d on which the suspect h0 and the
    model h err alike (see `shared_attack`), and takes a step down

        clean_weight * CE(h(x), y) + adversarial_weight * CE(h(x + d), y) + shared_weight * risk,

    where the risk is the mean of -log(1 - p_h(s)), s the wrong class h0 gives x + d.

    `PUBLISHED` holds the published settings, made for thousands of images. Ours, for a hundred: a share
    `stamped_share` of the perturbations are synthesized triggers, at strengths drawn from `strength`,
    whose images are also taught their labels (`stamped_weight`); and the suspect's answers on mixed images are
    distilled (`distillation_weight`). With `batch_norm` "frozen" the statistics stay the suspect's; with
    "adaptive" they follow the clean images, never the perturbed ones.
    """

    rounds: int = 30
    batch_size: int = 32
    learning_rate: float = 5e-3
    epsilon: float = 0.2
    step_size: float = 0.2
    steps: int = 5
    attack_weight: float = 0.01
    agreement_weight: float = 1.0
    clean_weight: float = 1.0
    adversarial_weight: float = 0.0
    shared_weight: float = 1.0
    stamped_share: float = 0.5
    stamped_weight: float = 1.0
    strength: tuple[float, float] = (0.5, 3.0)
    distillation_weight: float = 4.0
    optimizer: Literal["adam", "sgd"] = "sgd"
    batch_norm: Literal["frozen", "adaptive"] = "frozen"
    name: str = "sau"
    is_reconstruction: bool = False

    def run(self, task: Task) -> Generator[Event, None, Suspect]:
        """Sanitize a copy of the suspect; every round is an event, and the best round is kept."""
        from auditor.unlearn.best import Best
        from auditor.unlearn.shared_risk import SharedUnlearner

        unlearner = SharedUnlearner(task, self)
        model, steps = unlearner.model, self.rounds + 1
        best, everything = Best(model, task.monitor(model)), sum(p.numel() for p in model.module.parameters())
        for number in range(1, self.rounds + 1):
            losses, reading = unlearner.round(), task.monitor(model)
            best.offer(reading)
            yield step_event(self.name, number, steps, reading, losses, everything)
            if task.control.stop_requested:
                break
        yield step_event(self.name, steps, steps, best.restore(), {}, everything)
        return model


PUBLISHED = Sau(
    rounds=100, batch_size=256, learning_rate=1e-4, optimizer="adam", stamped_share=0.0, stamped_weight=0.0, distillation_weight=0.0
)
