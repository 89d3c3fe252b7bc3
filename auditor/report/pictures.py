"""Pictures of triggers, stamped images and heat-maps, as PNG data URIs.

Small images are enlarged by whole factors without smoothing, so that single pixels stay
visible on paper. The heat colours rise steadily in lightness and survive a grey printer.

Legend: H height, W width, C channels (1 or 3).
"""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SMALLEST_SIDE = 160
LARGEST_SIDE = 320

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

# Anchor colours of the heat scale, dark to light, at equal steps.
_HEAT = np.array(
    [(10, 8, 32), (62, 15, 92), (130, 32, 102), (196, 58, 78), (240, 112, 48), (252, 180, 64), (255, 246, 190)],
    dtype=np.float32,
)
_CHECKER = (216.0, 236.0)
_OUTLINE = ((0, 0, 0), (90, 255, 255))


def data_uri(pixels_HWC: Pixels) -> str:
    """A lossless PNG of the pixels (H, W, 3) as a data URI; the same pixels give the same bytes."""
    stream = io.BytesIO()
    Image.fromarray(pixels_HWC, "RGB").save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def scale_for(height: int, width: int) -> int:
    """The whole factor by which an image of this size is enlarged."""
    return max(1, -(-SMALLEST_SIDE // max(height, width)))


def enlarge(pixels_HWC: Pixels) -> Pixels:
    """The image at a size fit for print: whole factors up, area averages down to 320 pixels."""
    height, width = pixels_HWC.shape[:2]
    longest = max(height, width)
    if longest > LARGEST_SIDE:
        size = (max(1, width * LARGEST_SIDE // longest), max(1, height * LARGEST_SIDE // longest))
        return np.asarray(Image.fromarray(pixels_HWC, "RGB").resize(size, Image.Resampling.BOX))
    factor = scale_for(height, width)
    return pixels_HWC.repeat(factor, axis=0).repeat(factor, axis=1)


def colour(image_HWC: Pixels) -> Pixels:
    """An image of one or three channels as three."""
    return np.ascontiguousarray(np.broadcast_to(image_HWC, (*image_HWC.shape[:2], 3)))


def photo(image_HWC: Pixels, support_HW: NDArray[np.bool_] | None = None) -> str:
    """An image, with the pixels the trigger acts on outlined if given."""
    return data_uri(_outlined(enlarge(colour(image_HWC)), support_HW))


def grey(values_HW: Floats) -> str:
    """Values in [0, 1] as grey, 0 black."""
    return data_uri(enlarge(colour(_bytes(values_HW)[..., None])))


def trigger_over_checks(mask_HW: Floats, pattern_HWC: Floats) -> str:
    """The pattern where the mask lets it show, over a checkerboard where it does not."""
    height, width = mask_HW.shape
    rows, columns = np.indices((height, width))
    cell = max(1, max(height, width) // 8)
    checks = np.where((rows // cell + columns // cell) % 2 == 0, *_CHECKER)[..., None]
    alpha = np.clip(mask_HW, 0, 1)[..., None]
    blended = alpha * 255 * np.clip(pattern_HWC, 0, 1) + (1 - alpha) * checks
    return data_uri(enlarge(colour(np.rint(blended).astype(np.uint8))))


def signed(delta_HWC: Floats) -> tuple[str, float]:
    """A perturbation around mid-grey, amplified to fill the range, and the factor used."""
    peak = float(np.abs(delta_HWC).max())
    factor = 1.0 if peak == 0 else min(1000.0, 0.5 / peak)
    return data_uri(enlarge(colour(_bytes(0.5 + factor * delta_HWC)))), factor


def difference(clean_HWC: Pixels, triggered_HWC: Pixels) -> NDArray[np.float32]:
    """What the trigger added to one image, in [-1, 1]."""
    return ((triggered_HWC.astype(np.float32) - clean_HWC.astype(np.float32)) / 255).astype(np.float32)


def heat(image_HWC: Pixels, heat_HW: Floats, support_HW: NDArray[np.bool_] | None = None) -> str:
    """The heat-map over the darkened grey image, with the trigger's pixels outlined."""
    light = colour(image_HWC).astype(np.float32).mean(axis=2, keepdims=True)
    strength = np.clip(heat_HW, 0, 1)[..., None]
    weight = 0.35 + 0.55 * strength
    mixed = (1 - weight) * light + weight * heat_colours(heat_HW)
    return data_uri(_outlined(enlarge(np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)), support_HW))


def heat_colours(heat_HW: Floats) -> NDArray[np.float32]:
    """Heat in [0, 1] as colours (H, W, 3) in [0, 255]."""
    position = np.clip(heat_HW, 0, 1) * (len(_HEAT) - 1)
    steps = np.arange(len(_HEAT))
    return np.stack([np.interp(position, steps, _HEAT[:, c]) for c in range(3)], axis=-1).astype(np.float32)


def heat_scale() -> str:
    """A horizontal bar of the heat colours, low to high."""
    ramp = np.tile(np.linspace(0, 1, 160, dtype=np.float32), (12, 1))
    return data_uri(np.rint(heat_colours(ramp)).astype(np.uint8))


def _bytes(values: Floats) -> Pixels:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _outlined(pixels_HWC: Pixels, support_HW: NDArray[np.bool_] | None) -> Pixels:
    """The picture with a dark and a light line around the support."""
    if support_HW is None or not support_HW.any() or support_HW.all():
        return pixels_HWC
    size = (pixels_HWC.shape[1], pixels_HWC.shape[0])
    inside = np.asarray(Image.fromarray(support_HW).resize(size, Image.Resampling.NEAREST))
    drawn = pixels_HWC.copy()
    for ring, rgb in zip(_rings(inside), _OUTLINE, strict=True):
        drawn[ring] = rgb
    return drawn


def _rings(inside_HW: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The second and the first band of 2 pixels around the set."""
    near = _grown(inside_HW)
    return _grown(near) & ~near, near & ~inside_HW


def _grown(inside_HW: NDArray[np.bool_], by: int = 2) -> NDArray[np.bool_]:
    padded = np.pad(inside_HW, by)
    height, width = inside_HW.shape
    grown = np.zeros_like(inside_HW)
    for dy in range(2 * by + 1):
        for dx in range(2 * by + 1):
            grown |= padded[dy : dy + height, dx : dx + width]
    return grown
