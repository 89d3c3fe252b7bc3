"""Layerwise ridge regression toward what the suspect does without a trigger (see `refit`).

Legend: N images, G groups of a layer, D inputs of a group (channels x kernel), O its outputs,
P places in all images, C channels, H height, W width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auditor.adversarial import images_at_once
from auditor.suspect import Suspect
from auditor.unlearn.method import Task
from auditor.unlearn.tuning import augment, mixed, stamp_jittered

Layer = nn.Conv2d | nn.Linear
SHIFTED_ALIKE = 32  # images at a time get the same shift
MOST_NUMBERS = 2**24  # of unfolded inputs at a time: 64 MiB


class Refitter:
    """Refits a copy of the suspect, one layer at a time, in the order in which they are run.

    Layers run more than once in a pass, or padded otherwise than with zeros, are left as they are.
    """

    def __init__(self, task: Task, clean_images: int, stamped_images: int, strength: tuple[float, float]) -> None:
        self.suspect, self.model = task.suspect, task.suspect.clone()
        generator = torch.Generator().manual_seed(task.seed)
        images = task.images.to(self.model.device)
        self.clean = torch.cat([images, variants(images, clean_images - len(images), generator)])
        self.carriers = variants(images[task.meant()], stamped_images, generator)
        self.stamped = stamp_jittered(self.carriers, task.triggers, strength, generator)
        self.layers = layers_in_order(self.model, images[:1])

    def refit(self, index: int, weight: float, ridge: float) -> int:
        """Give one layer its new weights; returns how many there are."""
        name = self.layers[index]
        layer = self._layer(self.model, name)
        squares, products, places = self._sums(name, self.clean, self.clean)
        more_squares, more_products, more_places = self._sums(name, self.stamped, self.carriers)
        gram_GDD = squares / places + more_squares * (weight / more_places)
        cross_GDO = products / places + more_products * (weight / more_places)
        groups = len(gram_GDD)
        old_GDO = layer.weight.detach().double().view(groups, len(layer.weight) // groups, -1).transpose(1, 2)
        scale = ridge * gram_GDD.diagonal(dim1=1, dim2=2).mean().clamp(min=1e-12)
        gram_GDD = gram_GDD + scale * torch.eye(gram_GDD.shape[1], dtype=gram_GDD.dtype, device=gram_GDD.device)
        new_GDO = torch.linalg.solve(gram_GDD, cross_GDO + scale * old_GDO)
        with torch.no_grad():
            layer.weight.copy_(new_GDO.transpose(1, 2).reshape(layer.weight.shape))
        return layer.weight.numel()

    def _sums(self, name: str, inputs_NCHW: Tensor, wanted_NCHW: Tensor) -> tuple[Tensor, Tensor, int]:
        """Sums over places: X'X (G, D, D) of the model's inputs, X'Y (G, D, O) with the suspect's outputs; and P."""
        layer, source = self._layer(self.model, name), self._layer(self.suspect, name)
        squares, products, places = torch.zeros(()), torch.zeros(()), 0
        for some in torch.split(torch.arange(len(inputs_NCHW)), images_at_once(self.model)):
            seen = seen_by(self.model, layer, inputs_NCHW[some])[0]
            said = seen_by(self.suspect, source, wanted_NCHW[some])[1]
            few = max(1, MOST_NUMBERS // (seen[0].numel() * layer.weight[0, 0].numel()))
            for x, y in zip(torch.split(seen, few), torch.split(said, few), strict=True):
                x_GPD, y_GPO = columns(layer, x), outputs(source, y)
                squares = squares.to(x) + x_GPD.transpose(1, 2) @ x_GPD
                products = products.to(x) + x_GPD.transpose(1, 2) @ y_GPO
                places += x_GPD.shape[1]
        return squares.double(), products.double(), places

    def _layer(self, model: Suspect, name: str) -> Layer:
        layer = model.module.get_submodule(name)
        assert isinstance(layer, Layer)
        return layer


def layers_in_order(model: Suspect, image: Tensor) -> list[str]:
    """Names of the layers that can be refitted, in the order in which a pass meets them."""
    met: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: met.append(name))
        for name, module in model.module.named_modules()
        if can_be_refitted(module)
    ]
    try:
        model.logits(image)
    finally:
        for handle in handles:
            handle.remove()
    return [name for name in met if met.count(name) == 1]


def variants(images: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` shifted and mixed images, none where that is not above zero."""
    batches = [min(SHIFTED_ALIKE, count - done) for done in range(0, max(0, count), SHIFTED_ALIKE)]
    made = [mixed(augment(images, batch, generator)[0], generator) for batch in batches]
    return torch.cat([images[:0], *made])


def can_be_refitted(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return isinstance(layer, nn.Linear)


def columns(layer: Layer, inputs: Tensor) -> Tensor:
    """A layer's inputs as rows (G, P, D) of what each place sees."""
    if isinstance(layer, nn.Linear):
        return inputs.reshape(1, -1, inputs.shape[-1])
    assert not isinstance(layer.padding, str)  # can_be_refitted() leaves those out
    unfolded_NDP = F.unfold(inputs, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    return by_group(unfolded_NDP, layer.groups)


def outputs(layer: Layer, found: Tensor) -> Tensor:
    """A layer's outputs, less its bias, as rows (G, P, O)."""
    if isinstance(layer, nn.Linear):
        rows = found.reshape(1, -1, found.shape[-1])
        return rows if layer.bias is None else rows - layer.bias.detach()
    if layer.bias is not None:
        found = found - layer.bias.detach()[:, None, None]
    return by_group(found.flatten(2), layer.groups)


def by_group(values_NCP: Tensor, groups: int) -> Tensor:
    """(N, G x D, P) as rows (G, N x P, D)."""
    count, channels, places = values_NCP.shape
    split = values_NCP.reshape(count, groups, channels // groups, places)
    return split.permute(1, 0, 3, 2).reshape(groups, count * places, channels // groups)


class _Enough(Exception):
    """Ends a forward pass once the layer asked about has been run."""


def seen_by(model: Suspect, layer: nn.Module, images_NCHW: Tensor) -> tuple[Tensor, Tensor]:
    """What the layer takes in and puts out on these images; nothing after it is computed."""
    found: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.extend((inputs[0].detach(), output.detach()))
        raise _Enough

    handle = layer.register_forward_hook(keep)
    try:
        with torch.no_grad():
            model(images_NCHW.to(model.device))
    except _Enough:
        pass
    finally:
        handle.remove()
    return found[0], found[1]
