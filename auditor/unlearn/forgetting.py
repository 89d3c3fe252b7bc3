"""Ascent on what a trigger made the model say, and the recovery after it (see `ascent`).

Legend: B images of a batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from auditor.adversarial import fast_math
from auditor.unlearn.elastic import Elastic, fisher_diagonal
from auditor.unlearn.method import Task
from auditor.unlearn.tuning import augment, distillation, mixed, stamp_targeted, trainable, unlikelihood

if TYPE_CHECKING:
    from auditor.unlearn.ascent import Ascent

HELD_SHARE = 0.2


class Forgetter:
    """Trains a copy of the suspect to forget the triggers; batch-norm statistics stay frozen.

    A fifth of the work images, at least one, validate the recovery and take no part in training.
    """

    def __init__(self, task: Task, settings: Ascent) -> None:
        self.task, self.settings, self.model = task, settings, task.begin()
        self.generator = torch.Generator().manual_seed(task.seed)
        images, labels = task.images.to(self.model.device), task.labels.to(self.model.device)
        order = torch.randperm(len(images), generator=self.generator).to(self.model.device)
        held = max(1, round(HELD_SHARE * len(order)))
        seen = order[held:] if len(order) > held else order
        self.held, self.images, self.labels = images[order[:held]], images[seen], labels[seen]
        self.wanted = task.suspect.logits(self.held)
        self.steps = max(settings.steps_per_epoch, math.ceil(settings.passes * len(seen) / max(1, settings.batch_size)))
        some = slice(settings.fisher_images)
        self.elastic = Elastic(self.model, fisher_diagonal(self.model, self.images[some], self.labels[some]))
        parameters = list(self.model.module.parameters())
        self.ascending = torch.optim.SGD(parameters, lr=settings.learning_rate, momentum=0.9)
        self.recovering = torch.optim.SGD(parameters, lr=settings.recovery_learning_rate, momentum=0.9)

    def ascend(self) -> dict[str, float]:
        """One epoch away from the triggers' targets; the mean loss terms."""
        return self._epoch(self.ascending, self.settings.ascent_weight)

    def recover(self) -> dict[str, float]:
        """One epoch back toward the suspect's clean answers; the mean loss terms."""
        return self._epoch(self.recovering, 0.0)

    def validation_loss(self) -> float:
        """How far the model is from the suspect on the images held back."""
        return float(distillation(self.model.logits(self.held), self.wanted))

    def _epoch(self, optimizer: torch.optim.Optimizer, ascent_weight: float) -> dict[str, float]:
        pull = optimizer.param_groups[0]["lr"] * self.settings.elastic_weight
        sums: dict[str, float] = {}
        for _ in range(self.steps):
            for name, value in self._step(optimizer, ascent_weight).items():
                sums[name] = sums.get(name, 0.0) + value / self.steps
            self.elastic.pull(pull)
        return sums | {"elastic": self.settings.elastic_weight * self.elastic.penalty()}

    def _step(self, optimizer: torch.optim.Optimizer, ascent_weight: float) -> dict[str, float]:
        model, batch_size = self.model, self.settings.batch_size
        clean = mixed(augment(self.images, batch_size, self.generator)[0], self.generator)
        stamped, targets = self._stamped() if ascent_weight else (clean[:0], self.labels[:0])
        with torch.no_grad(), fast_math(model):
            wanted = self.task.suspect(clean).float()
        with trainable(model):
            with fast_math(model):
                logits = model(torch.cat([clean, stamped])).float()
            terms = {"clean": distillation(logits[: len(clean)], wanted)}
            loss = self.settings.distillation_weight * terms["clean"]
            if len(stamped):
                terms["ascent"] = ascent_loss(logits[len(clean) :], targets, bounded=self.settings.bounded)
                loss = loss + ascent_weight * terms["ascent"]
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.module.parameters(), 1.0)
        optimizer.step()
        return {name: float(term.detach()) for name, term in terms.items()}

    def _stamped(self) -> tuple[Tensor, Tensor]:
        """Stamped images (at most B, C, H, W), each by a trigger that is meant for its class, and the targets."""
        if not self.task.triggers:
            return self.images[:0], self.labels[:0]
        carriers, picks = augment(self.images, self.settings.batch_size, self.generator)
        labels = self.labels[picks]
        meant = torch.stack([trigger.affects(labels) for trigger in self.task.triggers], 1)
        some = meant.any(1)
        stamped, targets = stamp_targeted(carriers[some], self.task.triggers, self.settings.strength, self.generator, meant[some])
        return stamped, targets


def ascent_loss(logits_BK: Tensor, targets: Tensor, *, bounded: bool) -> Tensor:
    """What descending raises the cross-entropy toward `targets` (B,); a mean over the batch.

    Bounded: -log(1 - p), p the target's probability. Otherwise log p itself, of the images on
    which p is still at least chance, 1 / K: it has no least value, and no gradient where p is 1.
    """
    if bounded:
        return unlikelihood(logits_BK, targets).mean()
    log_p = logits_BK.log_softmax(1).gather(1, targets[:, None])[:, 0]
    return (log_p * (log_p.exp() >= 1 / logits_BK.shape[1])).mean()
