"""The shared solver: one batched descent over many trigger candidates at once.

Each arm is one candidate: a trigger family's parameters, a target class, a multiplier. All
arms' stamped images go through the suspect in one forward pass; arms never interact, so the
sum of their losses gives each its own gradient. An arm minimises

    cross-entropy toward its target + multiplier * cost,

and its multiplier rises while it flips enough images and falls while it does not, so that it
ends near the cheapest trigger that still flips them. That cost is what detection compares.

Legend: M arms, B images an arm sees a step, N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from auditor.suspect import Suspect

FLIP_SHARE = 0.95
MULTIPLIER_RATE = 1.2
SMOOTHING = 0.7


class Family(Protocol):
    """A kind of trigger, as the solver sees it. `raw` are unconstrained tensors (M, ...)."""

    @property
    def name(self) -> str: ...

    @property
    def learning_rate(self) -> float: ...

    @property
    def initial_multiplier(self) -> float: ...

    def start(self, arms: int, shape: tuple[int, int, int], generator: torch.Generator) -> dict[str, Tensor]:
        """Raw parameters (M, ...) to descend from, on the CPU."""
        ...

    def start_from(self, perturbation_CHW: Tensor) -> dict[str, Tensor]:
        """Raw parameters of one arm near a perturbation that already fools some images."""
        ...

    def constrain(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The trigger parameters that `triggers.STAMPS` takes, within their ranges."""
        ...

    def cost(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The cost (M,) of each trigger, in its family's unit; what detection compares."""
        ...

    def penalty(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """What the descent pays (M,): the cost, scaled to be about 1, plus any regulariser."""
        ...

    def scale(self, parameters: Mapping[str, Tensor], strength: Tensor) -> dict[str, Tensor]:
        """The triggers weakened or strengthened by `strength` (M,), 1 = unchanged."""
        ...

    def stamp(self, parameters: Mapping[str, Tensor], images_MBCHW: Tensor) -> Tensor:
        """The stamped images, in [0, 1]."""
        ...


@contextmanager
def fast_math(suspect: Suspect, enabled: bool = True) -> Iterator[None]:
    """bfloat16 autocast where the hardware has it: twice the speed, costs within noise.

    Never hold it across a `yield`.
    """
    kind = suspect.device.type
    with torch.autocast(kind, torch.bfloat16, enabled=enabled and has_bfloat16(kind)):
        yield


def has_bfloat16(device_type: str) -> bool:
    """True where bfloat16 convolutions are native rather than emulated."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and torch.cpu._is_avx512_bf16_supported()


@dataclass
class Progress:
    """One step's measurements, each (M,), on the CPU: batch loss, smoothed flip share, best cost."""

    loss: Tensor
    flipped: Tensor
    best_cost: Tensor


class Descent:
    """Adam over M arms' raw parameters, with one multiplier an arm, and its best so far.

    `images` (N, C, H, W) in [0, 1] and `labels` (N,) are the work images; an arm draws only
    images whose label is not its target, from `sources` classes when given.
    """

    def __init__(
        self,
        suspect: Suspect,
        family: Family,
        images_NCHW: Tensor,
        labels_N: Tensor,
        targets_M: Tensor,
        raw: Mapping[str, Tensor],
        generator: torch.Generator,
        batch_size: int = 16,
    ) -> None:
        self.suspect, self.family, self.generator = suspect, family, generator
        self.images = images_NCHW.to(suspect.device)
        self.targets = targets_M.to(suspect.device)
        self.batch_size = batch_size
        self.eligible = (labels_N[None] != targets_M[:, None]).float()
        self.raw = {k: v.to(suspect.device).clone() for k, v in raw.items()}
        self.first = {k: torch.zeros_like(v) for k, v in self.raw.items()}
        self.second = {k: torch.zeros_like(v) for k, v in self.raw.items()}
        arms = len(targets_M)
        self.multiplier = torch.full((arms,), family.initial_multiplier, device=suspect.device)
        self.flipped = torch.zeros(arms, device=suspect.device)
        self.best_cost = torch.full((arms,), torch.inf, device=suspect.device)
        self.best = {k: v.clone() for k, v in family.constrain(self.raw).items()}
        self.steps_taken = 0

    def step(self) -> Progress:
        """One descent step of every arm."""
        for value in self.raw.values():
            value.requires_grad_(True)
        parameters = self.family.constrain(self.raw)
        loss_M, flipped_M = self._losses(parameters)
        objective = (loss_M + self.multiplier * self.family.penalty(parameters)).sum()
        gradients = torch.autograd.grad(objective, list(self.raw.values()))
        for value in self.raw.values():
            value.requires_grad_(False)
        self._remember({k: v.detach() for k, v in parameters.items()}, flipped_M)
        self._adam(dict(zip(self.raw, gradients, strict=True)))
        grow = torch.where(flipped_M >= FLIP_SHARE, MULTIPLIER_RATE, 1 / MULTIPLIER_RATE)
        self.multiplier = (self.multiplier * grow).clamp(1e-4, 1e4)
        return Progress(loss_M.detach().cpu(), self.flipped.cpu(), self.best_cost.cpu())

    def _losses(self, parameters: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        picks_MB = torch.multinomial(
            self.eligible, self.batch_size, replacement=self._too_few(), generator=self.generator
        ).to(self.images.device)
        arms, batch = picks_MB.shape
        stamped = self.family.stamp(parameters, carriers(self.images[picks_MB], self.generator))
        with fast_math(self.suspect):
            logits = self.suspect(stamped.flatten(0, 1))
        targets = self.targets.repeat_interleave(batch)
        loss_MB = F.cross_entropy(logits.float(), targets, reduction="none").view(arms, batch)
        flipped_M = (logits.argmax(1) == targets).view(arms, batch).float().mean(1)
        return loss_MB.mean(1), flipped_M

    def _too_few(self) -> bool:
        return bool((self.eligible.sum(1) < self.batch_size).any())

    def _remember(self, parameters: Mapping[str, Tensor], flipped_M: Tensor) -> None:
        """Keep each arm's cheapest parameters among steps whose smoothed flip share suffices."""
        self.flipped = SMOOTHING * self.flipped + (1 - SMOOTHING) * flipped_M
        cost = self.family.cost(parameters)
        better = (self.flipped >= FLIP_SHARE - 0.1) & (flipped_M >= FLIP_SHARE - 0.1) & (cost < self.best_cost)
        never = torch.isinf(self.best_cost) & ~better
        self.best_cost = torch.where(better, cost, self.best_cost)
        for name, value in parameters.items():
            take = (better | never).view(-1, *[1] * (value.dim() - 1))
            self.best[name] = torch.where(take, value, self.best[name])

    def _adam(self, gradients: Mapping[str, Tensor], beta1: float = 0.5, beta2: float = 0.9) -> None:
        self.steps_taken += 1
        for name, gradient in gradients.items():
            first = self.first[name].mul_(beta1).add_(gradient, alpha=1 - beta1)
            second = self.second[name].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            corrected = (second / (1 - beta2**self.steps_taken)).sqrt_().add_(1e-10)
            self.raw[name] -= self.family.learning_rate * (first / (1 - beta1**self.steps_taken)) / corrected

    def keep(self, arms: Tensor) -> None:
        """Go on with these arms only (indices)."""
        arms = arms.to(self.suspect.device)
        for state in (self.raw, self.first, self.second, self.best):
            for name in state:
                state[name] = state[name][arms].clone()
        for name in ("targets", "multiplier", "flipped", "best_cost"):
            setattr(self, name, getattr(self, name)[arms].clone())
        self.eligible = self.eligible[arms.cpu()]


def carriers(images_MBCHW: Tensor, generator: torch.Generator, most_mixed: float = 0.5) -> Tensor:
    """The images mirrored at random, and mixed with one another at up to `most_mixed`.

    A backdoor fires on any carrier, while a perturbation that only suits these few images does
    not: the more carriers, the less a search can overfit a handful of images.
    """
    arms, batch = images_MBCHW.shape[:2]
    chance = torch.rand(2, arms, batch, 1, 1, 1, generator=generator).to(images_MBCHW.device)
    mirrored = torch.where(chance[0] < 0.5, images_MBCHW, images_MBCHW.flip(-1))
    return mirrored.lerp(mirrored.roll(1, dims=1), most_mixed * chance[1])


def flip_share(
    suspect: Suspect, family: Family, parameters: Mapping[str, Tensor], targets_M: Tensor, images_NCHW: Tensor,
    labels_N: Tensor, batch_size: int = 256,
) -> Tensor:  # fmt: skip
    """Share (M,) of images, not of the target class, that each trigger flips; NaN where there is none."""
    arms, count = len(targets_M), len(images_NCHW)
    images = images_NCHW.to(suspect.device)
    predicted = torch.zeros(arms, count, dtype=torch.int64)
    chunk = max(1, batch_size // max(1, count))
    with torch.no_grad(), fast_math(suspect):
        for lo in range(0, arms, chunk):
            part = {k: v[lo : lo + chunk].to(suspect.device) for k, v in parameters.items()}
            size = len(next(iter(part.values())))
            stamped = family.stamp(part, images[None].expand(size, *images.shape))
            predicted[lo : lo + chunk] = suspect(stamped.flatten(0, 1)).argmax(1).view(size, count).cpu()
    eligible = labels_N[None] != targets_M.cpu()[:, None]
    return ((predicted == targets_M.cpu()[:, None]) & eligible).sum(1) / eligible.sum(1)


def tighten(
    suspect: Suspect, family: Family, parameters: Mapping[str, Tensor], targets_M: Tensor, images_NCHW: Tensor,
    labels_N: Tensor, rounds: int = 5, strongest: float = 2.0,
) -> tuple[dict[str, Tensor], Tensor]:  # fmt: skip
    """Each trigger at the least strength that still flips FLIP_SHARE of the images.

    Bisects strength in (0, `strongest`], so that costs are compared at equal success. Returns
    the scaled triggers and their flip share (M,); one that never suffices stays at full strength.
    """
    low = torch.zeros(len(targets_M), device=suspect.device)
    high = torch.full_like(low, strongest)
    trial = torch.ones_like(low)
    for _ in range(rounds):
        scaled = family.scale(parameters, trial)
        enough = flip_share(suspect, family, scaled, targets_M, images_NCHW, labels_N).to(low.device) >= FLIP_SHARE
        high, low = torch.where(enough, trial, high), torch.where(enough, low, trial)
        trial = (low + high) / 2
    final = family.scale(parameters, high)
    return final, flip_share(suspect, family, final, targets_M, images_NCHW, labels_N)
