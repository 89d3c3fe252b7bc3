"""Fine-tuning on a handful of images without forgetting: the step that methods share.

Each step pairs clean images, on which the model must keep answering as the suspect did, with
stamped ones, on which it must answer their label. Mixing pairs of images makes many inputs out
of few, and the suspect's own logits label them all (distillation), so that a few dozen images
hold the accuracy where cross-entropy alone would overfit them.

Sources: knowledge distillation, Hinton et al. 2015; mixup, Zhang et al., ICLR 2018; its use
as function matching, Beyer et al., CVPR 2022. The recipe for backdoors is ours.

Legend: N images, B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auditor.adversarial import fast_math
from auditor.suspect import Suspect
from auditor.triggers import Trigger


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Hyper-parameters of the tuning step; `strength` is the range trigger strengths are drawn
    from, so that an inexact trigger covers its neighbourhood."""

    epochs: int = 30
    steps_per_epoch: int = 6
    learning_rate: float = 2e-3
    momentum: float = 0.9
    batch_size: int = 32
    stamped_weight: float = 1.0
    distillation_weight: float = 4.0
    strength: tuple[float, float] = (0.7, 1.6)


@dataclass(frozen=True)
class Epoch:
    number: int
    losses: dict[str, float]


def tune(
    model: Suspect, teacher: Suspect, images: Tensor, labels: Tensor, triggers: Sequence[Trigger], settings: Tuning,
    *, seed: int, after_step: Callable[[], None] = lambda: None,
) -> Iterator[Epoch]:  # fmt: skip
    """Tune `model` in place on `images` (N, C, H, W) in [0, 1]; yields after every epoch.

    Batch-norm statistics stay frozen, since few images would wreck them. `after_step` runs
    after each optimizer step (pruning re-applies its masks there).
    """
    generator = torch.Generator().manual_seed(seed)
    images, labels = images.to(model.device), labels.to(model.device)
    optimizer = torch.optim.SGD(model.module.parameters(), lr=settings.learning_rate, momentum=settings.momentum)
    total = settings.epochs * settings.steps_per_epoch
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total, eta_min=settings.learning_rate * 0.05)
    for epoch in range(settings.epochs):
        sums = {"clean": 0.0, "stamped": 0.0}
        for _ in range(settings.steps_per_epoch):
            losses = _step(model, teacher, images, labels, triggers, settings, optimizer, generator)
            schedule.step()
            after_step()
            for name, value in losses.items():
                sums[name] += value / settings.steps_per_epoch
        yield Epoch(epoch + 1, sums)


def _step(
    model: Suspect, teacher: Suspect, images: Tensor, labels: Tensor, triggers: Sequence[Trigger], settings: Tuning,
    optimizer: torch.optim.Optimizer, generator: torch.Generator,
) -> dict[str, float]:  # fmt: skip
    clean = mixed(augment(images, settings.batch_size, generator)[0], generator)
    picked, indices = augment(images, settings.batch_size, generator)
    stamped = stamp_jittered(picked, triggers, settings.strength, generator)
    with torch.no_grad(), fast_math(model):
        wanted = teacher(clean).float()
    with trainable(model):
        with fast_math(model):
            logits = model(torch.cat([clean, stamped])).float()
        kept = distillation(logits[: len(clean)], wanted)
        unlearned = F.cross_entropy(logits[len(clean) :], labels[indices])
        loss = settings.distillation_weight * kept + settings.stamped_weight * unlearned
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.module.parameters(), 1.0)
    optimizer.step()
    return {"clean": float(kept.detach()), "stamped": float(unlearned.detach())}


class trainable:
    """Parameters of a suspect take gradients inside; they are frozen again afterwards."""

    def __init__(self, model: Suspect) -> None:
        self.module = model.module

    def __enter__(self) -> None:
        self.module.requires_grad_(True)

    def __exit__(self, *_: object) -> None:
        self.module.requires_grad_(False)


def distillation(logits_BK: Tensor, wanted_BK: Tensor, temperature: float = 2.0) -> Tensor:
    """Kullback-Leibler divergence from the teacher's distribution, times temperature squared."""
    student = F.log_softmax(logits_BK / temperature, dim=1)
    teacher = F.log_softmax(wanted_BK / temperature, dim=1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


def augment(images: Tensor, batch_size: int, generator: torch.Generator, shift: int = 2) -> tuple[Tensor, Tensor]:
    """A batch drawn with replacement, each image shifted by up to `shift` pixels; and its indices."""
    picks = torch.randint(0, len(images), (batch_size,), generator=generator).to(images.device)
    return shifted(images[picks], shift, generator), picks


def shifted(batch: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    """The images moved alike, by up to `shift` pixels each way, reflected at the border."""
    dy, dx = torch.randint(-shift, shift + 1, (2,), generator=generator).tolist()
    padded = F.pad(batch, (shift,) * 4, mode="reflect")
    height, width = batch.shape[2:]
    return padded[:, :, shift + dy : shift + dy + height, shift + dx : shift + dx + width]


def mixed(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Each image mixed with another by a share drawn uniformly; a quarter stay as they are."""
    share = torch.rand(len(batch), 1, 1, 1, generator=generator).to(batch.device)
    share = torch.where(share < 0.25, torch.zeros_like(share), share)
    order = torch.randperm(len(batch), generator=generator).to(batch.device)
    return (1 - share) * batch + share * batch[order]


def stamp_jittered(
    images: Tensor, triggers: Sequence[Trigger], strength: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Each image stamped by one of the triggers, drawn at random, at a random strength."""
    return stamp_targeted(images, triggers, strength, generator)[0]


def stamp_targeted(
    images: Tensor, triggers: Sequence[Trigger], strength: tuple[float, float], generator: torch.Generator,
    meant_NT: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """As `stamp_jittered`, and the target class (N,) of the trigger each image got: any, or one of those that are `meant`
    (N, T) for it, at least one for every image."""
    if meant_NT is None or not len(images):
        choice = torch.randint(0, len(triggers), (len(images),), generator=generator)
    else:
        choice = torch.multinomial(meant_NT.float().cpu(), 1, generator=generator)[:, 0]
    low, high = strength
    factor = (low + (high - low) * torch.rand(len(images), generator=generator)).to(images.device)
    stamped = images.clone()
    for index, trigger in enumerate(triggers):
        chosen = (choice == index).to(images.device)
        if bool(chosen.any()):
            stamped[chosen] = trigger.stamp_at(images[chosen], factor[chosen])
    targets = torch.tensor([trigger.target_class for trigger in triggers])[choice]
    return stamped, targets.to(images.device)


def unlikelihood(logits_NK: Tensor, classes: Tensor, floor: float = 0.0) -> Tensor:
    """-log(1 - p) (N,) for the probability p of each one's class: the bounded form of gradient ascent.

    Its gradient on the class's own logit is p: strongest while the class is still answered, gone
    once it is not. Below `floor` it is constant, -log(1 - floor), without gradient.
    """
    others = logits_NK.scatter(1, classes[:, None], -torch.inf).logsumexp(1)
    log_rest = others - logits_NK.logsumexp(1)
    return -log_rest.clamp_max(math.log1p(-floor))
