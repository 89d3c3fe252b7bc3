"""Whether a suspect behaves like a trained classifier on the user's images, before it is searched.

Shapes do not tell strides, activations, class order or normalisation; a suspect read wrongly
gives dead gradients or chance accuracy, and a search on it would prove nothing. What fails
here makes the verdict inconclusive. It is a fact about the input, not an error.
Legend: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auditor.domain import Rate
from auditor.errors import printable
from auditor.metrics import accuracy, wilson
from auditor.suspect import Suspect

Labels = NDArray[np.int64]
LIVE_SHARE = 0.5
GRADIENT_IMAGES = 16
COLLAPSED_SHARE = 0.9  # of predictions in one class, where
VARIED_SHARE = 0.7  # at most this share of the labels is in one class
WRONG_READING = "the normalisation, class order, input size or architecture is probably wrong"
NEXT = "pass --normalize (or --mean and --std), --classes, --input-size or --arch"


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """`reasons` says what failed, why it likely did, and the next step; empty when `ok`.

    `confidence` is the mean top-class probability, `spread` how evenly the predictions cover the
    classes (see `spread`), `live_gradients` the share of images with one; None where not reached.
    """

    ok: bool
    reasons: list[str]
    clean_accuracy: Rate | None = None
    confidence: float | None = None
    spread: float | None = None
    live_gradients: float | None = None


def spread(logits_NK: Tensor) -> float:
    """Entropy of the predicted classes, over the largest that N images of K classes can have; in [0, 1]."""
    images, classes = logits_NK.shape
    most = min(images, classes)
    if most < 2:
        return 1.0
    share_K = torch.bincount(logits_NK.argmax(1), minlength=classes).double() / images
    entropy = -(share_K[share_K > 0] * share_K[share_K > 0].log()).sum()
    return max(0.0, float(entropy) / float(np.log(most)))


def accuracy_bar(num_classes: int) -> float:
    """What the lower end of the accuracy's 95 % Wilson interval must exceed: chance and a margin.

    The margin is half the chance rate, at most 5 points: over 15 % for 10 classes, 55 % for two,
    0.15 % for 1,000. Of 10 images of 10 classes that asks for 4 right, of 500 for 91; of 10
    images of two classes for 9.
    """
    chance = 1 / num_classes
    return chance + min(0.05, chance / 2)


def check(suspect: Suspect, images_NCHW: Tensor, labels_N: Labels | None) -> Preflight:
    """Judge the suspect on clean images in [0, 1], with their labels or None for unlabelled ones.

    It must have finite weights and logits, an input gradient on most images, predictions that are
    not all one class, and accuracy above chance (see `accuracy_bar`). Without labels confidence
    and spread stand in for accuracy: weaker, since a network read wrongly can be confident.
    """
    if reason := _weights(suspect):
        return Preflight(ok=False, reasons=[reason])
    if not len(images_NCHW):
        return Preflight(ok=False, reasons=["there are no clean images to judge the model by; pass --clean PATH"])
    logits_NK = suspect.logits(images_NCHW)
    if broken := int((~torch.isfinite(logits_NK)).any(1).sum()):
        reason = f"{broken} of {len(logits_NK)} images give logits that are NaN or infinite: {WRONG_READING}; {NEXT}"
        return Preflight(ok=False, reasons=[reason])
    live = live_gradients(suspect, images_NCHW[:GRADIENT_IMAGES])
    reasons = []
    if live <= LIVE_SHARE:
        share = f"only {100 * live:.0f} % of the images have an input gradient"
        reasons.append(f"{share}, so no search can work: {WRONG_READING}; {NEXT}")
    predicted_N: Labels = logits_NK.argmax(1).numpy()
    rate = None if labels_N is None else accuracy(predicted_N, labels_N)
    confidence, evenness = float(logits_NK.softmax(1).max(1).values.mean()), spread(logits_NK)
    wrong = _collapsed(predicted_N, labels_N)
    if wrong is None and rate is not None:
        wrong = _low_accuracy(rate, suspect.num_classes)
    elif wrong is None:
        wrong = _unsure(confidence, suspect.num_classes)
    reasons += [wrong] if wrong else []
    return Preflight(ok=not reasons, reasons=reasons, clean_accuracy=rate, confidence=confidence, spread=evenness,
                     live_gradients=live)  # fmt: skip


def _weights(suspect: Suspect) -> str | None:
    """Why the weights cannot be those of a working network, or None."""
    for key, value in suspect.module.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            cause = "the file is damaged, or its training diverged; get it again"
            return f"the weights under {printable(key, 80)!r} hold NaN or infinity: {cause}"
        if key.endswith("running_var") and bool((value < 0).any()):
            return f"a batch-norm variance ({printable(key, 80)!r}) is negative: the file is damaged; get it again"
    return None


def live_gradients(suspect: Suspect, images_NCHW: Tensor) -> float:
    """The share of images on which the margin of the top logit over the next has a gradient in the input.

    Logits rather than probabilities, which saturate on a confident network that is perfectly alive.
    """
    images = images_NCHW.detach().to(suspect.device, copy=True).requires_grad_(True)
    with torch.enable_grad():
        top_N2 = suspect(images).topk(2, dim=1).values
        margin = (top_N2[:, 0] - top_N2[:, 1]).sum()
        gradient = torch.autograd.grad(margin, images, allow_unused=True)[0] if margin.requires_grad else None
    if gradient is None:
        return 0.0
    size_N = gradient.flatten(1).abs().amax(1)
    return float(((size_N > 0) & torch.isfinite(size_N)).float().mean())


def _collapsed(predicted_N: Labels, labels_N: Labels | None) -> str | None:
    """Why predictions of nearly always one class on images that differ mean a wrong reading, or None."""
    images = len(predicted_N)
    classes, counts = np.unique(predicted_N, return_counts=True)
    labelled_share = 0.0 if labels_N is None else float(np.unique(labels_N, return_counts=True)[1].max()) / images
    if images < 10 or counts.max() < COLLAPSED_SHARE * images or labelled_share > VARIED_SHARE:
        return None
    shown = f"{counts.max()} of {images} images are predicted as class {classes[counts.argmax()]}"
    return f"{shown}: {WRONG_READING}; {NEXT}{'' if labels_N is not None else '; or give images of more classes'}"


def _low_accuracy(rate: Rate, num_classes: int) -> str | None:
    """Why the accuracy does not show a working classifier, or None when it does."""
    chance, bar, observed = 1 / num_classes, accuracy_bar(num_classes), rate.hits / rate.total
    if rate.low > bar:
        return None
    text = f"clean accuracy {100 * observed:.0f} % ({rate.hits} of {rate.total} images)"
    if observed > 1.5 * bar or wilson(round(observed * 500), 500).low > bar:
        return f"{text} is too uncertain to be told from chance ({100 * chance:.1f} %); give more images with --clean"
    return f"{text} is not above chance ({100 * chance:.1f} %): {WRONG_READING}; {NEXT}"


def _unsure(confidence: float, num_classes: int) -> str | None:
    """Why so little confidence on unlabelled images means a wrong reading, or None."""
    chance = 1 / num_classes
    if confidence >= min(2 * chance, chance + 0.2):
        return None
    text = f"mean confidence {100 * confidence:.0f} % is hardly above chance ({100 * chance:.1f} %)"
    return f"{text}: {WRONG_READING}; {NEXT}; or label the images"
