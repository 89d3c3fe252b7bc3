"""The network under audit: its module, how its input is normalised, and what it has cost.

Legend: N batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass
class Meter:
    """Images passed forward and backward through a suspect and everything cloned from it."""

    forward_images: int = 0
    backward_images: int = 0

    def _count_backward(self, images: int) -> None:
        self.backward_images += images


class Suspect:
    """A classifier in evaluation mode, with frozen parameters, that takes images in [0, 1].

    `module` takes normalised (N, C, H, W) float32 and returns logits (N, K); it is moved to
    `device` and frozen here, because a search that leaves parameters trainable does a third
    more work. `mean` and `std` are per channel, in [0, 1] units.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        num_classes: int,
        input_shape: tuple[int, int, int],
        mean: tuple[float, ...] = (0.0,),
        std: tuple[float, ...] = (1.0,),
        device: str | torch.device = "cpu",
        meter: Meter | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.module = module.to(self.device).eval().requires_grad_(False)
        self.num_classes = num_classes
        self.input_shape = input_shape
        self.mean = mean
        self.std = std
        self.meter = meter or Meter()
        self._mean_C11 = torch.tensor(mean, dtype=torch.float32, device=self.device).view(-1, 1, 1)
        self._std_C11 = torch.tensor(std, dtype=torch.float32, device=self.device).view(-1, 1, 1)

    def normalize(self, images_NCHW: Tensor) -> Tensor:
        """Images in [0, 1] as the module takes them."""
        return (images_NCHW - self._mean_C11) / self._std_C11

    def __call__(self, images_NCHW: Tensor) -> Tensor:
        """Logits (N, K) of images in [0, 1]; counts what passes forward and backward."""
        images = len(images_NCHW)
        self.meter.forward_images += images
        logits_NK: Tensor = self.module(self.normalize(images_NCHW))
        if logits_NK.requires_grad:
            logits_NK.register_hook(lambda _: self.meter._count_backward(images))  # type: ignore[no-untyped-call]
        return logits_NK

    def predict(self, images_NCHW: Tensor, batch_size: int = 256) -> NDArray[np.int64]:
        """Predicted classes (N,) of images in [0, 1], computed without gradients."""
        labels: NDArray[np.int64] = self.logits(images_NCHW, batch_size).argmax(1).numpy()
        return labels

    def logits(self, images_NCHW: Tensor, batch_size: int = 256) -> Tensor:
        """Logits (N, K) on the CPU, computed in batches without gradients."""
        with torch.no_grad():
            parts = [self(batch.to(self.device)).float().cpu() for batch in torch.split(images_NCHW, batch_size)]
        return torch.cat(parts) if parts else torch.zeros(0, self.num_classes)

    def clone(self) -> Suspect:
        """An independent copy of the network that counts on the same meter."""
        return self.with_module(copy.deepcopy(self.module))

    def with_module(self, module: nn.Module) -> Suspect:
        """The same input spec and meter around another module."""
        return Suspect(
            module, num_classes=self.num_classes, input_shape=self.input_shape, mean=self.mean, std=self.std,
            device=self.device, meter=self.meter,
        )  # fmt: skip

    def state(self) -> dict[str, Tensor]:
        """A copy of the weights and buffers."""
        return {name: value.detach().clone() for name, value in self.module.state_dict().items()}

    def named_layers(self) -> Iterator[tuple[str, nn.Module]]:
        """Leaf modules in registration order."""
        return ((name, m) for name, m in self.module.named_modules() if not any(m.children()))
