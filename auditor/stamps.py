"""How each trigger family changes images, batched over M triggers with N images each.

Stamps run in full precision wherever they are called from, so that a trigger does to images the
same in a search under autocast as when it is read back from a file.

Legend: M triggers, N images, C channels, H height, W width, U and V cosines down and across,
D directions, I and J rows and columns of a control grid, F hidden channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
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


def stamp_warp(parameters: Mapping[str, Tensor], images_MNCHW: Tensor) -> Tensor:
    """Fetch every pixel from a little elsewhere; positions beyond the edge are moved to it.

    `displacement` (M, D, I, J) holds how far, in pixels, at the points of a control grid of I rows
    and J columns whose corners are the images': D is across, then down.
    Source: Nguyen and Tran, WaNet, ICLR 2021.
    """
    arms, count, channels, height, width = images_MNCHW.shape
    with torch.autocast(images_MNCHW.device.type, enabled=False):
        flow_MHW2 = dense_flow(parameters["displacement"], height, width).permute(0, 2, 3, 1)
        yy, xx = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        sides = torch.tensor([max(width - 1, 1), max(height - 1, 1)]).to(flow_MHW2)
        positions_MHW2 = 2 * (torch.stack((xx, yy), 2).to(flow_MHW2) + flow_MHW2) / sides - 1
        planes = images_MNCHW.reshape(arms, count * channels, height, width)  # one grid serves all of an arm's planes
        # Its backward pass on the CPU writes outside of memory at a position that is no number: a file could ask for that.
        moved = F.grid_sample(planes, positions_MHW2.nan_to_num(), padding_mode="border", align_corners=True)
        return moved.view(images_MNCHW.shape).clamp(0, 1)


def stamp_feature(parameters: Mapping[str, Tensor], images_MNCHW: Tensor) -> Tensor:
    """Add to every image a change that a small network draws from it, and clip to [0, 1].

    r = tanh(g(x)) scaled to root mean square 1 in every image; x' = clip(x + strength r), so that
    `strength` (M, 1) is the root mean square of the change before clipping. g is two 3 x 3
    convolutions: `first` (M, F, C, 3, 3) and `bias` (M, F), rectified, and `second` (M, C, F, 3, 3).
    Source: generators of triggers as in Nguyen and Tran, Input-aware dynamic backdoor, NeurIPS 2020.
    """
    arms, count, channels, height, width = images_MNCHW.shape
    with torch.autocast(images_MNCHW.device.type, enabled=False):
        first, second = parameters["first"].flatten(0, 1), parameters["second"].flatten(0, 1)
        planes = images_MNCHW.transpose(0, 1).reshape(count, arms * channels, height, width)
        centred = (2 * planes - 1).contiguous(memory_format=torch.channels_last)  # twice as fast on a CPU
        hidden = F.conv2d(centred, first, parameters["bias"].flatten(), padding=1, groups=arms)
        drawn = F.conv2d(F.leaky_relu(hidden, 0.1), second, padding=1, groups=arms).tanh()
        drawn_MNCHW = drawn.view(count, arms, channels, height, width).transpose(0, 1)
        power = drawn_MNCHW.square().mean((2, 3, 4), keepdim=True)
        strength = parameters["strength"].view(-1, 1, 1, 1, 1)
        return (images_MNCHW + strength * drawn_MNCHW / (power + 1e-8).sqrt()).clamp(0, 1)


def dense_flow(displacement_MDIJ: Tensor, height: int, width: int) -> Tensor:
    """The control grid as a flow (M, D, H, W), by bicubic interpolation."""
    return F.interpolate(displacement_MDIJ, (height, width), mode="bicubic", align_corners=True)


def cosines(count: int, length: int) -> Tensor:
    """The `count` slowest waves (count, length) of the DCT-II, each of mean square 1 over `length`.

    Mutually orthogonal for `count` up to `length`. Wave k makes k / 2 periods over the length.
    Source: Ahmed et al., IEEE Trans. Computers C-23 (1974).
    """
    wave, position = torch.arange(count)[:, None], torch.arange(length)[None]
    scale = torch.full((count, 1), math.sqrt(2))
    scale[0] = 1
    return scale * torch.cos(math.pi * wave * (2 * position + 1) / (2 * length))
