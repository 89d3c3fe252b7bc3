"""The normalisations that networks are commonly trained with, by name."""

from __future__ import annotations

from math import isclose
from statistics import fmean

from auditor.domain import Architecture, Normalization

KNOWN: dict[str, Normalization] = {
    "cifar10": Normalization(mean=[0.4914, 0.4822, 0.4465], std=[0.2470, 0.2435, 0.2616]),
    "imagenet": Normalization(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
    "none": Normalization(mean=[0.0] * 3, std=[1.0] * 3),
    "half": Normalization(mean=[0.5] * 3, std=[0.5] * 3),
}


def known_normalization(name: str, channels: int) -> Normalization:
    """The known normalisation `name` for that many channels: grey takes the mean over colours.

    Raises KeyError for a name that is not in `KNOWN`.
    """
    known = KNOWN[name]
    if channels == len(known.mean):
        return known
    return Normalization(mean=[fmean(known.mean)] * channels, std=[fmean(known.std)] * channels)


def normalization_words(network: Architecture) -> str:
    """`imagenet (inferred)`; the numbers where they are none of the known."""
    return f"{_name(network.normalization)} ({network.normalization_how})"


def _name(found: Normalization) -> str:
    for name in KNOWN:
        known = known_normalization(name, len(found.mean))
        if _are_alike(known.mean, found.mean) and _are_alike(known.std, found.std):
            return name
    mean, std = (", ".join(f"{value:.4g}" for value in values[:4]) for values in (found.mean, found.std))
    return f"mean {mean}, std {std}"


def _are_alike(some: list[float], others: list[float]) -> bool:
    """Up to what a round trip through a file may change."""
    return len(some) == len(others) and all(isclose(a, b, abs_tol=1e-6) for a, b in zip(some, others, strict=True))
