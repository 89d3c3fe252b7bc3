"""How each trigger family changes images, batched over M triggers with N images each.

Stamps run in full precision wherever they are called from, so that a trigger does to images the
same in a search under autocast as when it is read back from a file.

Legend: M triggers, N images, C channels, H height, W width, U and V cosines down and across.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Stamp = Callable[[Mapping[str, Tensor], Tensor], Tensor]


def stamp_patch(parameters: Mapping[str, Tensor], images_MNCHW: Tensor) -> Tensor:
    """Replace part of each image: (1 - mask) x + mask pattern.

    `mask` (M, H, W) in [0, 1] and `pattern` (M, C, H, W) in [0, 1].
    Source: Wang et al., Neural Cleanse, IEEE S&P 2019.
    """
    mask = parameters["mask"][:, None, None]
    return images_MNCHW + mask * (parameters["pattern"][:, None] - images_MNCHW)


def stamp_additive(parameters: Mapping[str, Tensor], images_MNCHW: Tensor) -> Tensor:
    """Add one perturbation to every image, `delta` (M, C, H, W), and clip to [0, 1]."""
    return (images_MNCHW + parameters["delta"][:, None]).clamp(0, 1)


def stamp_lowfreq(parameters: Mapping[str, Tensor], images_MNCHW: Tensor) -> Tensor:
    """Add a sum of slow cosines to every image and clip to [0, 1].

    `coefficients` (M, C, U, V) weigh the basis of `cosines`, so that the root mean square of the
    change is that of the coefficients.
    """
    height, width = images_MNCHW.shape[-2:]
    coefficients = parameters["coefficients"]
    with torch.autocast(images_MNCHW.device.type, enabled=False):
        down_UH = cosines(coefficients.shape[-2], height).to(coefficients)
        across_VW = cosines(coefficients.shape[-1], width).to(coefficients)
        delta_MCHW = torch.einsum("mcuv,uh,vw->mchw", coefficients, down_UH, across_VW)
        return (images_MNCHW + delta_MCHW[:, None]).clamp(0, 1)


def cosines(count: int, length: int) -> Tensor:
    """The `count` slowest waves (count, length) of the DCT-II, each of mean square 1 over `length`.

    Mutually orthogonal for `count` up to `length`. Wave k makes k / 2 periods over the length.
    Source: Ahmed et al., IEEE Trans. Computers C-23 (1974).
    """
    wave, position = torch.arange(count)[:, None], torch.arange(length)[None]
    scale = torch.full((count, 1), math.sqrt(2))
    scale[0] = 1
    return scale * torch.cos(math.pi * wave * (2 * position + 1) / (2 * length))
