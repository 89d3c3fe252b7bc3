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
REMEMBERED_SHARE = 0.9
MULTIPLIER_GROWTH = 1.15
MULTIPLIER_DECAY = 1.15**1.5  # falls faster than it rises: an arm must spend its time flipping images
SMOOTHING = 0.7


class Family(Protocol):
    """A kind of trigger, as the solver sees it. `raw` are unconstrained tensors (M, ...)."""

    @property
    def name(self) -> str: ...

    @property
    def learning_rate(self) -> float: ...

    @property
    def initial_multiplier(self) -> float: ...

    @property
    def pace(self) -> float:
        """How many steps of fewer images it takes where others take one: masks close slowly."""
        ...

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


def images_at_once(suspect: Suspect) -> int:
    """How many images to push forward in one pass: memory grows with their pixels, and a CPU is
    slower, not faster, on batches that leave its caches."""
    _, height, width = suspect.input_shape
    at_32x32 = 16384 if suspect.device.type == "cuda" else 512
    return max(8, at_32x32 * 1024 // (height * width))


def has_bfloat16(device_type: str) -> bool:
    """True where bfloat16 convolutions are native rather than emulated."""
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
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
    images whose label is not its goal for them: its target, or what `goals` (M, N) says of each.
    With `shown` (M, N) it draws only those it is shown. An arm without any draws from all: there is nothing it could
    flip, and it will find no cost.
    Images with goals of their own are shown as they are: mirrored or mixed they may be of another class.
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
        *,
        goals_MN: Tensor | None = None,
        shown_MN: Tensor | None = None,
    ) -> None:
        self.suspect, self.family, self.generator = suspect, family, generator
        self.images = images_NCHW.to(suspect.device)
        self.targets = targets_M.to(suspect.device)
        self.batch_size, self.plain = batch_size, goals_MN is not None
        goals_MN = targets_M[:, None].expand(-1, len(labels_N)) if goals_MN is None else goals_MN
        self.goals = goals_MN.to(suspect.device)
        eligible = (labels_N[None] != goals_MN).float()
        eligible = eligible if shown_MN is None else eligible * shown_MN
        self.eligible = torch.where(eligible.any(1, keepdim=True), eligible, torch.ones_like(eligible))
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
        """One descent step of every arm, a chunk of arms at a time."""
        losses, flipped, gradients = [], [], []
        for arms in torch.split(torch.arange(len(self.targets)), self._arms_at_once()):
            loss_M, flipped_M, gradient = self._chunk(arms.to(self.suspect.device))
            losses.append(loss_M)
            flipped.append(flipped_M)
            gradients.append(gradient)
        loss_M, flipped_M = torch.cat(losses), torch.cat(flipped)
        self._remember(flipped_M)
        self._adam({name: torch.cat([g[name] for g in gradients]) for name in self.raw})
        grow = torch.where(flipped_M >= FLIP_SHARE - 0.02, MULTIPLIER_GROWTH, 1 / MULTIPLIER_DECAY)
        self.multiplier = (self.multiplier * grow).clamp(1e-4, 1e4)
        return Progress(loss_M.cpu(), self.flipped.cpu(), self.best_cost.cpu())

    def _chunk(self, arms: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Batch loss and flip share (A,) of some arms, and the gradients of their parameters."""
        raw = {name: value[arms].requires_grad_(True) for name, value in self.raw.items()}
        parameters = self.family.constrain(raw)
        picks_AB = torch.multinomial(
            self.eligible[arms.cpu()], self.batch_size, replacement=self._too_few(), generator=self.generator
        ).to(self.images.device)
        count, batch = picks_AB.shape
        images = self.images[picks_AB]
        stamped = self.family.stamp(parameters, images if self.plain else carriers(images, self.generator))
        with fast_math(self.suspect):
            logits = self.suspect(stamped.flatten(0, 1))
        targets = self.goals[arms].gather(1, picks_AB).flatten()
        loss_A = F.cross_entropy(logits.float(), targets, reduction="none").view(count, batch).mean(1)
        objective = (loss_A + self.multiplier[arms] * self.family.penalty(parameters)).sum()
        # Weights made for it overflow on the way back: what has no gradient stays where it is.
        gradients = [g.nan_to_num(0, 0, 0) for g in torch.autograd.grad(objective, list(raw.values()))]
        flipped_A = (logits.argmax(1) == targets).view(count, batch).float().mean(1)
        return loss_A.detach(), flipped_A, dict(zip(raw, gradients, strict=True))

    def _arms_at_once(self) -> int:
        return max(1, images_at_once(self.suspect) // self.batch_size)

    def _too_few(self) -> bool:
        return bool((self.eligible.sum(1) < self.batch_size).any())

    def _remember(self, flipped_M: Tensor) -> None:
        """Keep each arm's cheapest parameters among steps whose smoothed flip share suffices."""
        parameters = self.family.constrain(self.raw)
        self.flipped = SMOOTHING * self.flipped + (1 - SMOOTHING) * flipped_M
        cost = self.family.cost(parameters)
        enough = (self.flipped >= REMEMBERED_SHARE) & (flipped_M >= REMEMBERED_SHARE)
        better = enough & (cost < self.best_cost)
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
        for name in ("targets", "goals", "multiplier", "flipped", "best_cost"):
            setattr(self, name, getattr(self, name)[arms].clone())
        self.eligible = self.eligible[arms.cpu()]


def carriers(images_MBCHW: Tensor, generator: torch.Generator) -> Tensor:
    """The images mirrored at random, and mixed with one another at up to a half.

    A backdoor fires on any carrier, while a perturbation that only suits these few images does
    not: the more carriers, the less a search can overfit a handful of images.
    """
    arms, batch = images_MBCHW.shape[:2]
    chance = torch.rand(2, arms, batch, 1, 1, 1, generator=generator).to(images_MBCHW.device)
    mirrored = torch.where(chance[0] < 0.5, images_MBCHW, images_MBCHW.flip(-1))
    return mirrored.lerp(mirrored.roll(1, dims=1), 0.5 * chance[1])
