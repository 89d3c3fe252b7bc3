"""The networks' own input units, and perturbations that raise a network's loss.

Legend: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STEP_SHARE = 2.5  # of the radius, over all steps: enough to reach the border and to turn there


def normalize(images_NCHW: Tensor) -> Tensor:
    """Images in [0, 1] as every network of the zoo takes them."""
    return (images_NCHW - _column(MEAN, images_NCHW)) / _column(STD, images_NCHW)


def _column(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(-1, 1, 1)


def fast_logits(net: nn.Module, images_NCHW: Tensor) -> Tensor:
    """Logits (N, K) of images in [0, 1], float32, out of bfloat16 autocast with channels-last.

    Networks with depthwise convolutions run in float32, which is faster for them on a CPU.
    """
    images_NCHW = normalize(images_NCHW).contiguous(memory_format=torch.channels_last)
    depthwise = any(isinstance(module, nn.Conv2d) and module.groups > 1 for module in net.modules())
    with torch.autocast(images_NCHW.device.type, torch.bfloat16, enabled=not depthwise):
        logits_NK: Tensor = net(images_NCHW)
    return logits_NK.float()


def ascend(net: nn.Module, images_NCHW: Tensor, labels_N: Tensor, *, radius: float, steps: int) -> Tensor:
    """Images in [0, 1] moved by up to `radius` a pixel so that `net` is less sure of their labels.

    Projected gradient ascent on the cross-entropy, without a random start; the network answers in
    evaluation mode and is left as it was.
    Source: Madry et al., ICLR 2018.
    """
    training = net.training
    net.eval()
    moved_NCHW = images_NCHW.detach().clone()
    for _ in range(steps):
        moved_NCHW.requires_grad_(True)
        loss = F.cross_entropy(fast_logits(net, moved_NCHW), labels_N)
        (gradient_NCHW,) = torch.autograd.grad(loss, moved_NCHW)
        with torch.no_grad():
            stepped_NCHW = moved_NCHW + STEP_SHARE * radius / steps * gradient_NCHW.sign()
            near_NCHW = images_NCHW + (stepped_NCHW - images_NCHW).clamp(-radius, radius)
            moved_NCHW = near_NCHW.clamp(0, 1)
    net.train(training)
    return moved_NCHW.detach()
