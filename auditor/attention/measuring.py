"""TAR with its controls and intervals, before and after sanitizing.

Monitoring and illustration only, never a verdict's input (see the package's docstring).
Legend: N images, C channels, H height, W width, R random masks.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auditor.attention.gradcam import Heat, grad_cam
from auditor.attention.layers import Layer, target_layer
from auditor.attention.tar import normalize_energy, tar
from auditor.domain import Attention, Interval, TarMeasurement
from auditor.suspect import Suspect
from auditor.triggers import Trigger

GLOBAL_AREA = 0.4
GLOBAL_NOTE = "TAR not meaningful (global trigger)."
PANELS = 6
RESAMPLES = 1000

Labels = Tensor | NDArray[np.int64]
Mask = NDArray[np.bool_]


def measure(
    suspect: Suspect, trigger: Trigger, images_NCHW: Tensor, labels_N: Labels, layer: Layer, *, seed: int,
    fixed_class: bool = False, random_masks: int = 8,
) -> TarMeasurement:  # fmt: skip
    """TAR on triggered images whose true class the trigger is meant to change.

    Those are the images (in [0, 1]) not of the target class, and of a source class where the
    trigger names some. Heat is for the class that the model predicts, or with `fixed_class` for
    the target, so that before and after can be compared alike. Controls: the mean over
    `random_masks` masks of equal area on the same heat, and the same mask on the clean images
    (for their predicted class). Intervals are bootstrapped over images.
    """
    images = images_NCHW[torch.from_numpy(_eligible(trigger, labels_N))]
    mask = trigger.support(images_NCHW)
    rng = np.random.default_rng(seed)
    triggered = trigger.stamp(images)
    classes = torch.full((len(images),), trigger.target_class) if fixed_class else None
    heat = grad_cam(suspect, triggered, classes, layer.name)
    found = tar(heat, mask)
    elsewhere = [tar(heat, other).energy for other in equal_area_masks(mask, random_masks, rng)]
    clean = tar(grad_cam(suspect, images, None, layer.name), mask).energy
    return TarMeasurement(
        energy=bootstrap(found.energy, rng),
        ratio=bootstrap(found.ratio, rng),
        lift=bootstrap(found.lift, rng),
        normalized=bootstrap(normalize_energy(found.energy, mask, layer.shape), rng),
        random_mask=bootstrap(np.mean(elsewhere, axis=0), rng),
        clean_images=bootstrap(clean, rng),
        coverage=float((heat.sum((1, 2)) > 0).mean()) if len(heat) else 0.0,
        class_rule="target" if fixed_class else "predicted",
    )


def attend(
    suspect: Suspect, trigger: Trigger, images_NCHW: Tensor, labels_N: Labels, *, seed: int,
    sanitized: Suspect | None = None, limit: int = 64,
) -> tuple[Attention | None, dict[str, NDArray[np.generic]]]:  # fmt: skip
    """The attention evidence on up to `limit` eligible images, and the arrays for its pictures.

    `before` and `after` (of `sanitized`, on the same images at the same layer) are for the class
    each model predicts; `before_target` and `after_target` for the trigger's target.
    Arrays, for at most six images, of different classes while there are some: `images` (n, H, W, C)
    uint8 with the trigger, `before` and `after` (n, H, W) float32 in [0, 1], `true`, `predicted_before`
    and `predicted_after` (n,), and `support` (H, W). (None, {}) when the network puts out no map: TAR cannot be computed.
    """
    layer = target_layer(suspect)
    if layer is None:
        return None, {}
    mask = trigger.support(images_NCHW)
    chosen = _sample(_eligible(trigger, labels_N), limit, seed)
    images, labels = images_NCHW[chosen], torch.as_tensor(labels_N)[chosen]
    shown = class_by_class(trigger, labels)[:PANELS]
    triggered = trigger.stamp(images[shown])
    panels: dict[str, NDArray[np.generic]] = {"images": _pixels(triggered), "support": mask, "true": labels[shown].cpu().numpy()}
    found: dict[str, TarMeasurement] = {}
    for when, model in {"before": suspect, "after": sanitized}.items():
        if model is None:
            continue
        found[when] = measure(model, trigger, images, labels, layer, seed=seed)
        found[f"{when}_target"] = measure(model, trigger, images, labels, layer, seed=seed, fixed_class=True)
        panels[when] = normalize_heat(grad_cam(model, triggered, None, layer.name))
        panels[f"predicted_{when}"] = model.predict(triggered)
    area = float(mask.mean())
    attention = Attention(
        layer=layer.name, layer_rule=layer.rule, meaningful=area <= GLOBAL_AREA, mask_area=area,
        before=found["before"], after=found.get("after"), before_target=found["before_target"],
        after_target=found.get("after_target"), note=_note(area, found),
    )  # fmt: skip
    return attention, panels


def monitor_tar(
    suspect: Suspect, triggered_NCHW: Tensor, mask_HW: Mask, elsewhere_RHW: Mask, layer: str
) -> tuple[float | None, float | None, Heat]:
    """One cheap reading for live monitoring, for the predicted classes: the mean energy TAR in the mask, the mean
    over the masks `elsewhere`, its control, and the heat-maps (N, H, W) in [0, 1]. None when no image has heat."""
    heat = grad_cam(suspect, triggered_NCHW, None, layer)
    control = np.mean([tar(heat, mask).energy for mask in elsewhere_RHW], axis=0)
    return _mean(tar(heat, mask_HW).energy), _mean(control), normalize_heat(heat)


def _mean(values_N: NDArray[np.float64]) -> float | None:
    finite = values_N[np.isfinite(values_N)]
    return float(finite.mean()) if len(finite) else None


def equal_area_masks(mask_HW: Mask, count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """`count` masks (R, H, W) of the mask's area: its shape moved to random places inside the image.

    A mask whose bounding box covers more than half of the image has nowhere to go: as many
    random pixels are taken instead.
    """
    masks = np.zeros((count, *mask_HW.shape), dtype=bool)
    if not mask_HW.any():
        return masks
    rows, columns = np.flatnonzero(mask_HW.any(1)), np.flatnonzero(mask_HW.any(0))
    shape = mask_HW[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    (height, width), (box_height, box_width) = mask_HW.shape, shape.shape
    for mask in masks:
        if 2 * shape.size > mask_HW.size:
            mask.flat[rng.choice(mask.size, int(mask_HW.sum()), replace=False)] = True
            continue
        top, left = rng.integers(height - box_height + 1), rng.integers(width - box_width + 1)
        mask[top : top + box_height, left : left + box_width] = shape
    return masks


def bootstrap(values_N: NDArray[np.float64], rng: np.random.Generator) -> Interval:
    """The mean of the finite values and its percentile bootstrap 95 % interval.

    A single value has no interval; `count` says how many images were defined.
    """
    finite = values_N[np.isfinite(values_N)]
    if len(finite) == 0:
        return Interval(mean=None, low=None, high=None, count=0)
    if len(finite) == 1:
        return Interval(mean=float(finite[0]), low=None, high=None, count=1)
    means = rng.choice(finite, (RESAMPLES, len(finite))).mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(mean=float(finite.mean()), low=float(low), high=float(high), count=len(finite))


def normalize_heat(heat_NHW: Heat) -> Heat:
    """Each map divided by its maximum; a map without heat stays 0."""
    most = heat_NHW.max((1, 2), keepdims=True, initial=0)
    scaled: Heat = np.divide(heat_NHW, most, out=np.zeros_like(heat_NHW), where=most > 0)
    return scaled


def _eligible(trigger: Trigger, labels_N: Labels) -> NDArray[np.int64]:
    """Indices of the images whose class the trigger is meant to change."""
    return np.flatnonzero(trigger.affects(torch.as_tensor(labels_N)).cpu().numpy())


def class_by_class(trigger: Trigger, labels_N: Labels) -> NDArray[np.int64]:
    """Indices of the images that the trigger is meant to change: the first of every class, then the second, and so on."""
    chosen = _eligible(trigger, labels_N)
    labels = torch.as_tensor(labels_N).cpu().numpy()[chosen]
    turn = np.array([int((labels[:i] == label).sum()) for i, label in enumerate(labels)], dtype=np.int64)
    return chosen[np.argsort(turn, kind="stable")]


def _sample(indices: NDArray[np.int64], limit: int, seed: int) -> Tensor:
    if len(indices) > limit:
        indices = np.sort(np.random.default_rng(seed).choice(indices, limit, replace=False))
    return torch.from_numpy(indices)


def _pixels(images_NCHW: Tensor) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = (images_NCHW * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return pixels


def _note(area: float, found: dict[str, TarMeasurement]) -> str:
    said = [GLOBAL_NOTE] if area > GLOBAL_AREA else []
    fixed = [
        f"{found[key].energy.mean:.1%} {when}"
        for when, key in (("before", "before_target"), ("after", "after_target"))
        if key in found and found[key].energy.mean is not None
    ]
    if fixed:
        said.append(f"With the class fixed to the target, TAR is {' and '.join(fixed)}.")
    if found["before"].energy.count == 0:
        said.append("TAR is undefined: no image outside the target class has any attention.")
    return " ".join(said)
