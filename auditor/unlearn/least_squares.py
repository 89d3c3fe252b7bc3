"""Layerwise ridge regression toward what the suspect does without a trigger (see `refit`).

A layer looks at some places of many images rather than at every place of few: those of one image
tell nearly the same. Where memory allows, the network is passed through once for all layers.

Legend: N images, G groups of a layer, D inputs of a group (channels x kernel), O its outputs,
P places in all images, S places of one image, C channels, H height, W width.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auditor.suspect import Suspect
from auditor.triggers import Trigger
from auditor.unlearn.method import Task
from auditor.unlearn.solving import Solve, new_weights
from auditor.unlearn.tuning import augment, mixed, stamp_jittered
from auditor.unlearn.walking import Walk, look_at

Layer = nn.Conv2d | nn.Linear
SHIFTED_ALIKE = 32  # images at a time get the same shift
MOVED_ALIKE, MOVED_BY = 16, 2  # triggers at a time are moved alike, by up to so many pixels each way
LOOKED_AT_ONCE = 128  # images; those of one batch are looked at in the same places
MOST_PLACES, LEAST_PLACES = 32, 8  # of an image
MOST_WANTED = 2**26  # numbers that the suspect's outputs may take: 256 MiB
MOST_NUMBERS = 2**24  # of unfolded inputs at a time: 64 MiB
MOST_PIXELS = 2**23  # of all images of one kind
MOST_WALKED = 2**27  # numbers of the largest map of all images; a ResNet-20 took eight times that, here 4 GiB


class Part:
    """Clean or stamped images (N, C, H, W) for the model; and, for every layer and `LOOKED_AT_ONCE` of the images, where
    it is looked at and what the suspect's puts out there, less its bias, on these images without a trigger."""

    def __init__(self, images_NCHW: Tensor) -> None:
        self.images = images_NCHW
        self.where_S: dict[str, list[Tensor]] = defaultdict(list)
        self.wanted_GPO: dict[str, list[Tensor]] = defaultdict(list)
        self.walk: Walk | None = None


class Refitter:
    """Refits a copy of the suspect, one layer at a time, in the order in which they are run; `close` when done.

    Layers run more than once in a pass, or padded otherwise than with zeros, are left as they are.
    """

    def __init__(self, task: Task, clean_images: int, stamped_images: int, strength: tuple[float, float]) -> None:
        self.suspect, self.model = task.suspect, task.begin()
        self.generator = torch.Generator().manual_seed(task.seed)
        images = task.images.to(self.model.device)
        most = max(LOOKED_AT_ONCE, MOST_PIXELS // images[0, 0].numel())
        some = images[torch.randperm(len(images), generator=self.generator)[: min(clean_images, most)].to(images.device)]
        clean = torch.cat([some, variants(images, min(clean_images, most) - len(some), self.generator)])
        carriers = variants(images[task.meant()], min(stamped_images, most), self.generator)
        stamped = stamp_about(carriers, task.triggers, strength, self.generator)
        taken_in = layers_in_order(self.model, images[:1])
        self.layers, largest = list(taken_in), max(taken_in.values(), default=0)
        outputs = sum(len(self._layer(self.suspect, name).weight) for name in self.layers)
        self.places = max(LEAST_PLACES, min(MOST_PLACES, MOST_WANTED // max(1, outputs * (len(clean) + len(carriers)))))
        self.in_one_pass = largest * (len(clean) + len(carriers)) <= MOST_WALKED
        self.clean, self.stamped = self.part(clean, clean), self.part(stamped, carriers)

    def part(self, inputs_NCHW: Tensor, plain_NCHW: Tensor) -> Part:
        """The images for the model with the suspect's outputs on the plain ones."""
        part = Part(inputs_NCHW)

        def look(name: str, seen: Tensor) -> None:
            layer = self._layer(self.suspect, name)
            where_S = torch.randperm(places_of(layer, seen), generator=self.generator)[: self.places].to(seen.device)
            wanted = [x_GPD @ weights(layer) for x_GPD in rows(layer, seen, where_S)]
            part.where_S[name].append(where_S)
            part.wanted_GPO[name].append(torch.cat(wanted, dim=1))

        for few in torch.split(plain_NCHW, LOOKED_AT_ONCE):
            look_at(self.suspect, self.layers, few, look)
        if self.in_one_pass:
            part.walk = Walk(self.model, self.layers, inputs_NCHW)
        return part

    def close(self) -> None:
        """End the passes that wait in the model."""
        for part in (self.clean, self.stamped):
            if part.walk is not None:
                part.walk.close()

    def refit(self, index: int, weight: float, ridge: float, solve: Solve = new_weights) -> int:
        """Give one layer its new weights; returns how many there are."""
        name = self.layers[index]
        layer = self._layer(self.model, name)
        squares, products, places = self._sums(name, self.clean)
        more_squares, more_products, more_places = self._sums(name, self.stamped)
        gram_GDD = squares / places + more_squares * (weight / more_places)
        cross_GDO = products / places + more_products * (weight / more_places)
        new_GDO = solve(gram_GDD, cross_GDO, weights(layer).double(), ridge)
        with torch.no_grad():
            layer.weight.copy_(new_GDO.transpose(1, 2).reshape(layer.weight.shape))
        return layer.weight.numel()

    def _sums(self, name: str, part: Part) -> tuple[Tensor, Tensor, int]:
        """Sums over places: X'X (G, D, D) of the model's inputs, X'Y (G, D, O) with the suspect's outputs; and P."""
        layer = self._layer(self.model, name)
        squares, products, places = torch.zeros(()), torch.zeros(()), 0
        for seen, where_S, wanted_GPO in zip(self._inputs(name, part), part.where_S[name], part.wanted_GPO[name], strict=True):
            done = 0
            for x_GPD in rows(layer, seen, where_S):
                y_GPO = wanted_GPO[:, done : done + x_GPD.shape[1]]
                squares = squares.to(x_GPD) + x_GPD.transpose(1, 2) @ x_GPD
                products = products.to(x_GPD) + x_GPD.transpose(1, 2) @ y_GPO
                done += x_GPD.shape[1]
            places += done
        return squares.double(), products.double(), places

    def _inputs(self, name: str, part: Part) -> Iterator[Tensor]:
        """What the model's layer takes in, `LOOKED_AT_ONCE` images at a time."""
        if part.walk is not None:
            yield from torch.split(part.walk.to(name), LOOKED_AT_ONCE)
            return
        for few in torch.split(part.images, LOOKED_AT_ONCE):
            seen: list[Tensor] = []
            look_at(self.model, [name], few, lambda _, found, seen=seen: seen.append(found))  # type: ignore[misc]
            yield seen[0]

    def _layer(self, model: Suspect, name: str) -> Layer:
        layer = model.module.get_submodule(name)
        assert isinstance(layer, Layer)
        return layer


def layers_in_order(model: Suspect, image: Tensor) -> dict[str, int]:
    """The layers that can be refitted, in the order in which a pass meets them, with how many numbers they take in."""
    met: list[tuple[str, int]] = []
    handles = [
        module.register_forward_hook(lambda _, inputs, __, name=name: met.append((name, inputs[0].numel())))
        for name, module in model.module.named_modules()
        if can_be_refitted(module)
    ]
    try:
        model.logits(image)
    finally:
        for handle in handles:
            handle.remove()
    often = Counter(name for name, _ in met)
    return {name: numbers for name, numbers in met if often[name] == 1}


def variants(images: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` shifted and mixed images, none where that is not above zero."""
    batches = [min(SHIFTED_ALIKE, count - done) for done in range(0, max(0, count), SHIFTED_ALIKE)]
    made = [mixed(augment(images, batch, generator)[0], generator) for batch in batches]
    return torch.cat([images[:0], *made])


def stamp_about(
    images: Tensor, triggers: Sequence[Trigger], strength: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Each image stamped by one of the triggers, half of them as they are and half moved by a few pixels.

    To move a trigger the image is rolled away from under it and, stamped, rolled back.
    """
    stamped = []
    for few in torch.split(images, MOVED_ALIKE):
        moved = torch.rand((), generator=generator) < 0.5
        by = (torch.randint(-MOVED_BY, MOVED_BY + 1, (2,), generator=generator) * moved).tolist()
        back = [-shift for shift in by]
        stamped.append(stamp_jittered(few.roll(back, (2, 3)), triggers, strength, generator).roll(by, (2, 3)))
    return torch.cat(stamped)


def can_be_refitted(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return isinstance(layer, nn.Linear)


def places_of(layer: Layer, inputs: Tensor) -> int:
    """How many places of an image a layer has outputs for: one for a linear layer on plain features."""
    if isinstance(layer, nn.Linear):
        return inputs[0].numel() // inputs.shape[-1]
    high, wide = _output_size(layer, inputs)
    return high * wide


def rows(layer: Layer, inputs: Tensor, where_S: Tensor) -> Iterator[Tensor]:
    """What each of those places sees of a layer's inputs (N, ...), as rows (G, P, D); some images at a time."""
    if isinstance(layer, nn.Linear):
        yield inputs.reshape(len(inputs), -1, inputs.shape[-1])[:, where_S].reshape(1, -1, inputs.shape[-1])
        return
    pad_high, pad_wide = _pair(layer.padding)
    padded = F.pad(inputs, (pad_wide, pad_wide, pad_high, pad_high))
    # Only the places asked for are gathered: unfolding all of them costs thirty times as much on a large map.
    seen = _seen_from(layer, inputs, where_S, padded.shape[3])
    few = max(1, MOST_NUMBERS // (inputs.shape[1] * len(seen)))
    for some in torch.split(padded, few):
        taken = some.flatten(2).index_select(2, seen)
        split = taken.view(len(some), layer.groups, inputs.shape[1] // layer.groups, -1, len(where_S))
        yield split.permute(1, 0, 4, 2, 3).reshape(layer.groups, len(some) * len(where_S), -1)


def _seen_from(layer: nn.Conv2d, inputs: Tensor, where_S: Tensor, padded_width: int) -> Tensor:
    """What the kernel covers at each place, as flat places of the padded map, kernel by places."""
    rows_by, columns_by = layer.stride
    wide = _output_size(layer, inputs)[1]
    corner_S = (where_S // wide) * rows_by * padded_width + (where_S % wide) * columns_by
    down, across = (torch.arange(size, device=where_S.device) * apart for size, apart in zip(layer.kernel_size, layer.dilation, strict=True))
    kernel = (down[:, None] * padded_width + across).flatten()
    return (kernel[:, None] + corner_S).flatten()


def _output_size(layer: nn.Conv2d, inputs: Tensor) -> tuple[int, int]:
    each = zip(inputs.shape[2:], _pair(layer.padding), layer.dilation, layer.kernel_size, layer.stride, strict=True)
    high, wide = ((size + 2 * pad - apart * (kernel - 1) - 1) // stride + 1 for size, pad, apart, kernel, stride in each)
    return high, wide


def _pair(padding: str | tuple[int, ...]) -> tuple[int, int]:
    assert not isinstance(padding, str)  # can_be_refitted() leaves those out
    high, wide = padding
    return high, wide


def weights(layer: Layer) -> Tensor:
    """A layer's weights (G, D, O)."""
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    return layer.weight.detach().view(groups, len(layer.weight) // groups, -1).transpose(1, 2)
