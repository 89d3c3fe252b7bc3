"""Re-learning: how few steps of fine-tuning on a few triggered images bring a backdoor back.

A model that only hides its backdoor learns it again far sooner than it learns a new one (Min et al.,
Uncovering, Explaining, and Mitigating the Superficial Safety of Backdoor Defense, NeurIPS 2024,
arXiv 2410.09838). "Sooner" needs a reference. The suspect is none: there the backdoor is awake.
A twin with fresh last layers, fitted to the few images at hand, is none either: it loses the
accuracy, and with it what learning speed depends on. Ours is the sanitized model itself: the
same trigger, images, steps and learning rate, toward classes that the trigger never led to. Model,
trigger and carriers are then alike, and only what the weights remember differs. What this cannot
see: a model in which the trigger wakes every class alike, and one that was pushed away from the
former target harder than from the others. Measured on a CIFAR-10 ResNet-20 with BadNets: its last layer
tuned briefly against the trigger, the backdoor is first to return; tuned for long, it is the last.

Legend: N images, B batch, C channels, H height, W width, K classes, S steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auditor.adversarial import fast_math
from auditor.hardness.subject import Subject
from auditor.suspect import Suspect
from auditor.unlearn.tuning import trainable


@dataclass(frozen=True, kw_only=True)
class Relearning:
    """Hyper-parameters: how many triggered images, how many steps of SGD on all weights.

    They are such that an honest network learns any class within the steps, but not within the first half: an honest
    CIFAR-10 ResNet-20 flips 9 to 28 % of images to the class it is taught after 5 steps and 66 to 82 % after 9.
    """

    images: int = 10
    steps: int = 12
    learning_rate: float = 1e-2
    momentum: float = 0.9


def relearn(subject: Subject, target: int, settings: Relearning) -> list[int]:
    """Hits (S,) among the held-out eligible images after every step toward `target`.

    Each step takes all chosen images twice: with the trigger, labelled `target`, and clean, with their
    own labels, so that the model keeps telling classes apart. Batch-norm statistics stay frozen.
    """
    model = subject.model.clone()
    chosen = choose(subject, target, settings.images)
    clean, labels = subject.work[chosen].to(model.device), subject.work_labels[chosen].to(model.device)
    batch = torch.cat([subject.trigger.stamp(clean), clean])
    wanted = torch.cat([torch.full_like(labels, target), labels])
    eligible = subject.eligible(subject.held_labels, target)
    triggered = subject.trigger.stamp(subject.held[eligible].to(model.device))
    optimizer = torch.optim.SGD(model.module.parameters(), lr=settings.learning_rate, momentum=settings.momentum)
    hits = []
    for _ in range(settings.steps):
        _step(model, optimizer, batch, wanted)
        hits.append(int((model.predict(triggered) == target).sum()))
    return hits


def choose(subject: Subject, target: int, count: int) -> Tensor:
    """Indices of at most `count` work images, the same for every class probed where there are enough of others."""
    fit = subject.eligible(subject.work_labels, target)
    alike = fit & ~torch.isin(subject.work_labels, torch.tensor([subject.trigger.target_class, *subject.references]))
    pool = torch.nonzero(alike if int(alike.sum()) >= count else fit)[:, 0]
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(subject.seed))
    return pool[order[:count]]


def _step(model: Suspect, optimizer: torch.optim.Optimizer, batch_BCHW: Tensor, wanted_B: Tensor) -> None:
    with trainable(model):
        with fast_math(model):
            logits_BK = model(batch_BCHW).float()
        loss = F.cross_entropy(logits_BK, wanted_B)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.module.parameters(), 1.0)
    optimizer.step()
