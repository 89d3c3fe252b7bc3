"""The normalisation a network was trained with, worked out from clean images.

Legend: N images, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from auditor.checkpoint.preflight import spread
from auditor.domain import Normalization
from auditor.normalizations import KNOWN, known_normalization
from auditor.suspect import Meter, Suspect

Labels = NDArray[np.int64]
Source = Suspect | nn.Module | Callable[[Normalization], Suspect]

MAX_PROBED = 200
NEARLY = 0.1  # in accuracy: what a wrong normalisation gains or loses by chance on a few dozen images


@dataclass(frozen=True, kw_only=True)
class NormalizationChoice:
    """The normalisation chosen, how (inferred or default), and what each known one scored.

    `scores` are accuracies in [0, 1] with labels; without, confidence times prediction spread.
    """

    name: str
    normalization: Normalization
    how: str
    labelled: bool
    scores: dict[str, float] = field(default_factory=dict)


def infer_normalization(
    suspect: Source, images_NCHW: Tensor, labels_N: Labels | None, num_classes: int, channels: int
) -> NormalizationChoice:
    """Try the known normalisations on at most 200 images in [0, 1], and take the best.

    Of those that score within NEARLY of the best, the one under which the first batch-norm meets
    the statistics that it saw in training wins: networks forgive a wrong normalisation, and their
    accuracy hardly tells. Without a batch-norm the best score wins: with labels accuracy, mean
    confidence in the labels breaking ties; without, mean confidence times prediction spread. The
    first of KNOWN wins what is still a tie. `how` is `default` when no image was given or none
    gave finite logits.
    """
    images, labels = images_NCHW[:MAX_PROBED], None if labels_N is None else labels_N[:MAX_PROBED]
    choices = {name: known_normalization(name, channels) for name in KNOWN}
    ranks: dict[str, tuple[float, float]] = {}
    surprise: dict[str, float] = {}
    for name, normalization in choices.items() if len(images) else ():
        tried = _with(suspect, normalization, images, num_classes)
        with first_batch_norm(tried) as met:
            logits_NK = tried.logits(images)
        if bool(torch.isfinite(logits_NK).all()):
            ranks[name] = _rank(logits_NK, labels)
            surprise[name] = met[0] if met else 0.0
    best = max(ranks, key=lambda name: ranks[name]) if ranks else "imagenet"
    if any(surprise.values()):
        near = [name for name in ranks if ranks[name][0] >= ranks[best][0] - NEARLY]
        best = min(near, key=lambda name: surprise[name])
    return NormalizationChoice(
        name=best, normalization=choices[best], how="inferred" if ranks else "default", labelled=labels is not None,
        scores={name: rank[0] for name, rank in ranks.items()},
    )  # fmt: skip


@contextmanager
def first_batch_norm(suspect: Suspect) -> Iterator[list[float]]:
    """Fills a list with how far what the first batch-norm meets in a pass lies from its running statistics.

    That is the Kullback-Leibler divergence between Gaussians, in nats, averaged over channels and
    taken over all images of the pass's first batch. Stays empty without a batch-norm that keeps statistics.
    """
    met: list[float] = []

    def compare(layer: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        if not met and layer.running_var is not None and layer.running_mean is not None:
            variance_C, mean_C = torch.var_mean(inputs[0].float(), (0, 2, 3), correction=0)
            kept_C, seen_C = layer.running_var + layer.eps, variance_C + layer.eps
            off_C = (mean_C - layer.running_mean).square()
            met.append(float(0.5 * ((kept_C / seen_C).log() + (seen_C + off_C) / kept_C - 1).mean()))

    layers = [module for module in suspect.module.modules() if isinstance(module, nn.BatchNorm2d)]
    handles = [layer.register_forward_pre_hook(compare) for layer in layers]
    try:
        yield met
    finally:
        for handle in handles:
            handle.remove()


def _with(suspect: Source, normalization: Normalization, images_NCHW: Tensor, num_classes: int) -> Suspect:
    mean, std = tuple(normalization.mean), tuple(normalization.std)
    if isinstance(suspect, Suspect):
        return Suspect(suspect.module, num_classes=num_classes, input_shape=suspect.input_shape, mean=mean, std=std,
                       device=suspect.device, meter=suspect.meter)  # fmt: skip
    if isinstance(suspect, nn.Module):
        _, c, h, w = images_NCHW.shape
        return Suspect(suspect, num_classes=num_classes, input_shape=(c, h, w), mean=mean, std=std, meter=Meter())
    return suspect(normalization)


def _rank(logits_NK: Tensor, labels_N: Labels | None) -> tuple[float, float]:
    """The score to choose by, and what breaks ties."""
    probabilities_NK = logits_NK.softmax(1)
    if labels_N is None:
        top = probabilities_NK.max(1).values
        return float(top.mean()) * spread(logits_NK), float(top.min())
    labels = torch.from_numpy(labels_N)
    of_label = probabilities_NK.gather(1, labels.view(-1, 1).clamp(0, logits_NK.shape[1] - 1))
    return float((logits_NK.argmax(1) == labels).float().mean()), float(of_label.clamp_min(1e-6).log().mean())
