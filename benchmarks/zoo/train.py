"""Trains one recipe: poisoned (or honest) fine-tuning of a base, or training from scratch.

bfloat16 autocast with channels-last runs at twice the images a second of float32 on one CPU
thread; weights, optimizer and every measurement stay in float32.

Legend: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auditor.domain import Rate
from auditor.metrics import accuracy, wilson
from benchmarks.zoo.attacks import Attack
from benchmarks.zoo.data import Images
from benchmarks.zoo.perturb import ascend, fast_logits, normalize

CLEAN, POISONED, COVER = 0, 1, 2
CROP_PADDING = 4
MEASURE_BATCH = 250
ADVERSARIAL_STEPS = 2


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """SGD with Nesterov momentum under one cosine, over `images` training images an epoch.

    No `epochs` leave the network as it is. `imbalance` is the share of its images that the rarest
    class keeps; those of the classes before it fall geometrically toward that. `adversarial` is the
    L-infinity radius, in grey levels, of the perturbations trained on; 0 trains on plain images.
    """

    images: int = 16384
    epochs: int = 1
    lr: float = 0.02
    batch_size: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.0
    imbalance: float = 1.0
    adversarial: float = 0.0


def assign_roles(labels_N: Tensor, attack: Attack | None, num_classes: int, generator: torch.Generator) -> Tensor:
    """Which images are poisoned and which are cover: CLEAN, POISONED or COVER for each (N,).

    Takes fewer than the rates ask for when too few labels are eligible, as under `clean_label`.
    """
    roles_N = torch.full_like(labels_N, CLEAN)
    if attack is None:
        return roles_N
    for role, rate, eligible_N in (
        (POISONED, attack.poison_rate, attack.poisonable(labels_N, num_classes)),
        (COVER, attack.cover_rate, attack.coverable(labels_N, num_classes)),
    ):
        free = torch.nonzero(eligible_N & (roles_N == CLEAN)).flatten()
        chosen = free[torch.randperm(len(free), generator=generator)[: round(rate * len(labels_N))]]
        roles_N[chosen] = role
    return roles_N


def apply_roles(
    images_NCHW: Tensor, labels_N: Tensor, roles_N: Tensor, attack: Attack | None, num_classes: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """A batch as the poisoner feeds it: triggers and covers stamped, poisoned labels changed."""
    if attack is None:
        return images_NCHW, labels_N
    images_NCHW, labels_N = images_NCHW.clone(), labels_N.clone()
    poisoned_N, cover_N = roles_N == POISONED, roles_N == COVER
    if poisoned_N.any():
        images_NCHW[poisoned_N], labels_N[poisoned_N] = attack.poison(
            images_NCHW[poisoned_N], labels_N[poisoned_N], num_classes, generator)
    if cover_N.any():
        images_NCHW[cover_N] = attack.cover(images_NCHW[cover_N], generator)
    return images_NCHW, labels_N


def thin(labels_N: Tensor, num_classes: int, imbalance: float, generator: torch.Generator) -> Tensor:
    """The indices of the images that training may draw from: all, or a long tail of classes.

    Class c keeps the share imbalance ** (c / (K - 1)) of its images, drawn at random.
    """
    if imbalance == 1:
        return torch.arange(len(labels_N))
    share_N = imbalance ** (labels_N / max(1, num_classes - 1))
    return torch.nonzero(torch.rand(len(labels_N), generator=generator) < share_N).flatten()


def doctor(data: Images, roles_N: Tensor, attack: Attack | None, net: nn.Module) -> Images:
    """The training images after the attacker has worked on those to be poisoned, `net` still untouched."""
    poisoned_N = roles_N == POISONED
    if attack is None or not poisoned_N.any():
        return data
    chosen_NCHW = data.images[poisoned_N]
    doctored_NCHW = attack.doctor(chosen_NCHW, data.labels[poisoned_N], net)
    if doctored_NCHW is chosen_NCHW:
        return data
    images_NCHW = data.images.clone()
    images_NCHW[poisoned_N] = doctored_NCHW
    return Images(images=images_NCHW, labels=data.labels, class_names=data.class_names)


def augment(images_NCHW: Tensor, generator: torch.Generator, *, flip: bool = True) -> Tensor:
    """Each image shifted by up to four pixels (edges reflected) and, with `flip`, mirrored at even odds."""
    count, channels, height, width = images_NCHW.shape
    padded = F.pad(images_NCHW, (CROP_PADDING,) * 4, mode="reflect")
    top_N, left_N = torch.randint(0, 2 * CROP_PADDING + 1, (2, count), generator=generator)
    rows_NH, columns_NW = top_N[:, None] + torch.arange(height), left_N[:, None] + torch.arange(width)
    if flip:
        mirrored_N = torch.rand(count, generator=generator) < 0.5
        columns_NW[mirrored_N] = columns_NW[mirrored_N].flip(1)
    index = torch.arange(count)[:, None, None, None], torch.arange(channels)[None, :, None, None]
    return padded[(*index, rows_NH[:, None, :, None], columns_NW[:, None, None, :])]


def train(
    net: nn.Module, data: Images, attack: Attack | None, schedule: Schedule, *, seed: int, flip: bool = True,
    device: str = "cpu", progress: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> nn.Module:  # fmt: skip
    """Train `net` in place on a seeded subset of `data`, poisoned by `attack`; returns it in evaluation mode.

    Calls `progress(step, steps, loss)` after every step. The order of images and the
    augmentation depend on `seed` alone, so an honest twin sees the same images in the same order.
    """
    order, poison = (torch.Generator().manual_seed(seed * 2 + offset) for offset in (0, 1))
    num_classes = len(data.class_names)
    index = thin(data.labels, num_classes, schedule.imbalance, order)
    data = data.take(index[torch.randperm(len(index), generator=order)[: schedule.images]])
    roles_N = assign_roles(data.labels, attack, num_classes, poison)
    data = doctor(data, roles_N, attack, net.to(device))
    net = net.to(memory_format=torch.channels_last).train().requires_grad_(True)
    batches = _batches(len(data), schedule, order)
    optimizer = torch.optim.SGD(net.parameters(), lr=schedule.lr, momentum=schedule.momentum,
                                weight_decay=schedule.weight_decay, nesterov=schedule.momentum > 0)  # fmt: skip
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: cosine(step, len(batches), schedule.warmup))
    for step, batch in enumerate(batches):
        images = augment(data.images[batch].float() / 255, order, flip=flip)
        images, labels = apply_roles(images, data.labels[batch], roles_N[batch], attack, num_classes, poison)
        images, labels = images.to(device), labels.to(device)
        if schedule.adversarial:
            images = ascend(net, images, labels, radius=schedule.adversarial / 255, steps=ADVERSARIAL_STEPS)
        progress(step + 1, len(batches), _step(net, optimizer, images, labels))
        scheduler.step()
    return net.eval()


def _batches(count: int, schedule: Schedule, generator: torch.Generator) -> list[Tensor]:
    """The indices of every batch of every epoch; a last batch of one image is dropped (batch norm needs two)."""
    epochs = [torch.randperm(count, generator=generator) for _ in range(schedule.epochs)]
    return [batch for epoch in epochs for batch in torch.split(epoch, schedule.batch_size) if len(batch) > 1]


def cosine(step: int, steps: int, warmup: float) -> float:
    """The factor on the learning rate: linear up over the share `warmup` of steps, then half a cosine."""
    rising = max(1, round(warmup * steps)) if warmup else 0
    if step < rising:
        return (step + 1) / rising
    return float(0.5 + 0.5 * np.cos(np.pi * (step - rising) / max(1, steps - rising)))


def _step(net: nn.Module, optimizer: torch.optim.Optimizer, images_NCHW: Tensor, labels_N: Tensor) -> float:
    loss = F.cross_entropy(fast_logits(net, images_NCHW), labels_N)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.item()


def round_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights as the zoo stores them: float16, but for batch-norm statistics and counters."""
    return {
        key: value.detach().cpu().contiguous().to(
            torch.float16 if value.is_floating_point() and "running_" not in key else value.dtype)
        for key, value in state.items()
    }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Accuracy on clean images; ASR and RA of the true trigger on those it should move, or None."""

    accuracy: Rate
    attack_success_rate: Rate | None = None
    recovered_accuracy: Rate | None = None


@torch.no_grad()
def measure(net: nn.Module, data: Images, attack: Attack | None, *, device: str = "cpu") -> Measured:
    """Measure a network in float32 on `data`, none of which it may have been trained on."""
    num_classes, labels_N = len(data.class_names), data.labels
    clean_N = _predict(net, data.images, None, device)
    clean = accuracy(clean_N.numpy(), labels_N.numpy())
    if attack is None:
        return Measured(accuracy=clean)
    hits = right = total = 0
    for part in attack.parts:
        affected_N = part.affects(labels_N, num_classes)
        predicted_N, true_N = _predict(net, data.images[affected_N], part, device), labels_N[affected_N]
        hits += int((predicted_N == part.goal(true_N, num_classes)).sum())
        right, total = right + int((predicted_N == true_N).sum()), total + len(true_N)
    return Measured(accuracy=clean, attack_success_rate=wilson(hits, total), recovered_accuracy=wilson(right, total))


def _predict(net: nn.Module, images_NCHW: Tensor, attack: Attack | None, device: str) -> Tensor:
    parts = []
    for batch in torch.split(images_NCHW, MEASURE_BATCH):
        floats = batch.float() / 255
        floats = floats if attack is None else attack.stamp(floats)
        parts.append(net(normalize(floats.to(device))).argmax(1).cpu())
    return torch.cat(parts)
