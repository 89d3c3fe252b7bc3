"""Images made by a rule, to search on where there are no clean ones.

Dead leaves: shapes of random size, place and colour that cover one another, on a background whose
spectrum falls off as a photograph's does. They show nothing, and share with photographs what the
first layers of a network look for: edges, corners, smooth shading, texture. A trigger that flips
them costs about what it costs on real images, closely enough to compare the classes.

Sources: Lee, Mumford and Huang, Occlusion Models for Natural Images, IJCV 2001; that networks can be
trained on such images: Baradad et al., Learning to See by Looking at Noise, NeurIPS 2021. That
triggers can be searched on them is ours. Legend: N images, C channels, H height, W width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from auditor.errors import InconclusiveError
from auditor.suspect import Suspect

POOL = 24  # made for one that is taken; fewer where images are large
MOST_MADE = 2**23  # pixels of all, a channel
MOST_LEAVES = 8
MEAN, DEVIATION = 0.47, 0.22  # of the background's pixels, as in photographs
OWN_COLOUR = 0.6  # of a field's spread; the rest is shared by its channels
TEXTURE = 0.08
SLOPES = (1.0, 2.0)  # of the amplitude spectrum
SIZES = (0.05, 0.45)  # half axes of a leaf, as shares of the image's side
POWERS = (1.0, 2.0, 6.0)  # a rhombus, an ellipse, nearly a box


def stand_ins(suspect: Suspect, count: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """At most `count` images (N, C, H, W) in [0, 1] and what the suspect answers to each (N,).

    Of many more that are made those are taken which it is surest of, as evenly over its answers as
    can be: an image between two classes flips for almost nothing, whatever the trigger. Raises
    InconclusiveError where an answer is no number.
    """
    _, height, width = suspect.input_shape
    pool = max(count, min(POOL * count, MOST_MADE // (height * width)))
    made = dead_leaves(pool, suspect.input_shape, torch.Generator().manual_seed(seed))
    logits_NK = suspect.logits(made).detach().float().cpu()
    if not bool(torch.isfinite(logits_NK).all()):
        raise InconclusiveError("The network's answers are not finite numbers.", "The weights may be damaged.")
    sure_N, answer_N = logits_NK.softmax(1).max(1)
    order = torch.argsort(sure_N, descending=True, stable=True)
    rank_N = torch.zeros(len(made), dtype=torch.long)  # among those of the same answer
    for answer in set(answer_N.tolist()):
        own = order[answer_N[order] == answer]
        rank_N[own] = torch.arange(len(own))
    taken = torch.argsort(rank_N, stable=True)[:count]
    return made[taken], answer_N[taken]


def dead_leaves(count: int, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """`count` images of `shape` (C, H, W), float32 in [0, 1]."""
    channels, height, width = shape

    def uniform(low: float, high: float, *size: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *size, generator=generator)

    shade = 0.1 * torch.randn(count, channels, 1, 1, generator=generator)
    images = MEAN + DEVIATION * fields(count, shape, generator) + shade
    down, across = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    leaves = torch.randint(1, MOST_LEAVES + 1, (count, 1, 1, 1), generator=generator)
    for leaf in range(MOST_LEAVES):
        y, x, turn = uniform(0, 1, 1, 1), uniform(0, 1, 1, 1), uniform(0, math.pi, 1, 1)
        along = ((across - x) * turn.cos() + (down - y) * turn.sin()) / uniform(*SIZES, 1, 1)
        aside = ((down - y) * turn.cos() - (across - x) * turn.sin()) / uniform(*SIZES, 1, 1)
        power = torch.tensor(POWERS)[torch.randint(len(POWERS), (count, 1, 1), generator=generator)]
        covered = (along.abs() ** power + aside.abs() ** power < 1)[:, None] & (leaf < leaves)
        colour = uniform(0, 1, channels, 1, 1) + TEXTURE * fields(count, shape, generator)
        images = torch.where(covered, colour, images)
    return images.clamp(0, 1)


def fields(count: int, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """Noise (N, C, H, W) whose amplitude falls off as a power of the frequency; its channels partly alike, about
    one in deviation."""
    channels, height, width = shape
    frequency = (torch.fft.fftfreq(height)[:, None].square() + torch.fft.rfftfreq(width).square()).sqrt()
    frequency[0, 0] = 1 / max(height, width)
    slope = SLOPES[0] + (SLOPES[1] - SLOPES[0]) * torch.rand(count, 1, 1, 1, generator=generator)
    white = torch.fft.rfft2(torch.randn(count, channels + 1, height, width, generator=generator))
    noise = torch.fft.irfft2(white / frequency**slope, s=(height, width))
    noise = noise - noise.mean((2, 3), keepdim=True)
    noise = noise / noise.std((2, 3), keepdim=True).clamp(min=1e-6)
    mixed: Tensor = OWN_COLOUR * noise[:, :channels] + math.sqrt(1 - OWN_COLOUR**2) * noise[:, channels:]
    return mixed
