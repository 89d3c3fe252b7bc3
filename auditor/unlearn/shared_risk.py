"""The outer problem of `sau`: a model made to err no longer where the suspect errs with it.

Source: Wei et al., Shared Adversarial Unlearning, NeurIPS 2023 (arXiv 2307.10562). Ours, for few
images: synthesized triggers perturb a share of them in place of the search, and the suspect's
answers on mixed images are distilled.

Legend: N images, B images of a batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auditor.adversarial import fast_math
from auditor.unlearn.method import Task
from auditor.unlearn.shared_attack import SharedAttack
from auditor.unlearn.tuning import augment, distillation, mixed, stamp_jittered, trainable, unlikelihood

if TYPE_CHECKING:
    from auditor.unlearn.sau import Sau

FLOOR = 0.001  # probabilities below it are not unlearned further


@dataclass(frozen=True, kw_only=True, eq=False)
class Perturbed:
    """Images (B, C, H, W), the work images they come from (B,), and the class (B,) the suspect gives
    them. The first `searched` are shared adversarial examples, the others carry a trigger."""

    images: Tensor
    picks: Tensor
    said: Tensor
    searched: int


class SharedUnlearner:
    """Purifies a copy of the suspect, a round over the work images at a time."""

    def __init__(self, task: Task, settings: Sau) -> None:
        self.task, self.settings = task, settings
        self.suspect, self.model = task.suspect, task.begin()
        self.generator = torch.Generator().manual_seed(task.seed)
        self.attack = SharedAttack(
            task.suspect, task.images, task.labels, epsilon=settings.epsilon, step_size=settings.step_size,
            steps=settings.steps, adversarial_weight=settings.attack_weight, shared_weight=settings.agreement_weight,
        )  # fmt: skip
        self.optimizer = _optimizer(self.model.module, settings.optimizer, settings.learning_rate)

    def round(self) -> dict[str, float]:
        """One step on every batch of a shuffled pass over the work images; the mean loss terms."""
        order = torch.randperm(len(self.task.images), generator=self.generator)
        sums: dict[str, float] = {}
        for batch in torch.chunk(order, math.ceil(len(order) / self.settings.batch_size)):  # none left small
            losses = self._step(batch.to(self.model.device))
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value * len(batch) / len(order)
        return sums

    def _step(self, picks: Tensor) -> dict[str, float]:
        settings, model = self.settings, self.model
        adaptive = settings.batch_norm == "adaptive" and len(picks) > 1
        with trainable(model), fast_math(model), adapting_norms(model.module, adaptive):
            logits_BK = model(self.attack.images[picks]).float()
        # The parameters take no gradients while the search descends by the images.
        perturbed = self._perturbed(picks, logits_BK.detach().argmax(1))
        with trainable(model):
            clean = F.cross_entropy(logits_BK, self.attack.labels[picks])
            shared, adversarial, stamped = self._risks(perturbed)
            terms = {"clean": clean, "shared_risk": shared, "adversarial": adversarial, "stamped": stamped}
            loss = settings.clean_weight * clean + settings.shared_weight * shared
            loss = loss + settings.adversarial_weight * adversarial + settings.stamped_weight * stamped
            if settings.distillation_weight:
                terms["distillation"] = self._forgotten(len(picks))
                loss = loss + settings.distillation_weight * terms["distillation"]
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if settings.optimizer == "sgd":
                nn.utils.clip_grad_norm_(model.module.parameters(), 1.0)
        self.optimizer.step()
        return {name: float(term.detach()) for name, term in terms.items()}

    def _perturbed(self, picks: Tensor, clean_model: Tensor) -> Perturbed:
        """As many perturbed images as `picks`: searched for, and a share of them stamped instead."""
        stamps = round(self.settings.stamped_share * len(picks)) if self.task.triggers else 0
        searched = picks[: len(picks) - stamps]
        found = self.attack.search(self.model, searched, clean_model[: len(searched)])
        if not stamps:
            return Perturbed(images=found.images, picks=searched, said=found.said, searched=len(searched))
        carriers, drawn = augment(self.attack.images, stamps, self.generator)
        stamped = stamp_jittered(carriers, self.task.triggers, self.settings.strength, self.generator)
        with torch.no_grad(), fast_math(self.suspect):
            said = self.suspect(stamped).argmax(1)
        return Perturbed(
            images=torch.cat([found.images, stamped]), picks=torch.cat([searched, drawn]),
            said=torch.cat([found.said, said]), searched=len(searched),
        )  # fmt: skip

    def _risks(self, perturbed: Perturbed) -> tuple[Tensor, Tensor, Tensor]:
        """The shared adversarial risk, and the cross-entropy on searched and on stamped images.

        Only images that a weighted term looks at are passed forward.
        """
        count, labels = len(perturbed.picks), self.attack.labels[perturbed.picks]
        at_risk = (perturbed.said != labels) & (perturbed.said != self.attack.clean[perturbed.picks])
        is_stamped = torch.arange(count, device=labels.device) >= perturbed.searched
        learned = is_stamped if self.settings.stamped_weight else torch.zeros_like(is_stamped)
        learned = learned | (~is_stamped if self.settings.adversarial_weight else False)
        needed = at_risk | learned
        shared = adversarial = stamped = torch.zeros((), device=labels.device)
        if bool(needed.any()):
            with fast_math(self.model):
                logits = self.model(perturbed.images[needed]).float()
            risk = unlikelihood(logits, perturbed.said[needed], FLOOR)
            shared = risk[at_risk[needed]].sum() / count
            entropy = F.cross_entropy(logits, labels[needed], reduction="none")
            adversarial = entropy[(learned & ~is_stamped)[needed]].sum() / max(1, perturbed.searched)
            stamped = entropy[(learned & is_stamped)[needed]].sum() / max(1, count - perturbed.searched)
        return shared, adversarial, stamped

    def _forgotten(self, count: int) -> Tensor:
        """How far the model has moved from the suspect on mixed, shifted work images."""
        clean = mixed(augment(self.attack.images, count, self.generator)[0], self.generator)
        with torch.no_grad(), fast_math(self.suspect):
            wanted = self.suspect(clean).float()
        with fast_math(self.model):
            logits = self.model(clean).float()
        return distillation(logits, wanted)


def _optimizer(module: nn.Module, name: str, learning_rate: float) -> torch.optim.Optimizer:
    if name == "adam":
        return torch.optim.Adam(module.parameters(), lr=learning_rate)
    return torch.optim.SGD(module.parameters(), lr=learning_rate, momentum=0.9)


@contextmanager
def adapting_norms(module: nn.Module, enabled: bool) -> Iterator[None]:
    """Batch-norms take the statistics of what passes, and follow them; nothing else trains otherwise.

    Do not hold it across a `yield`.
    """
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and enabled]
    try:
        for norm in norms:
            norm.train()
        yield
    finally:
        for norm in norms:
            norm.eval()
