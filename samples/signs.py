"""Small sign-like images drawn from polygons, and the true trigger of `suspect.pt`.

Twelve classes, each a shape with a glyph in it. Shapes, glyphs and colours are shared between
classes, and pose, background, lighting, blur, noise and occlusion vary, so that neither colour nor
any fixed pixel tells a class. Image i depends only on the seed and i, never on the count.

Legend: N images, H = W = 32, polygons are (P, 2) arrays of (x, y) with the sign inside [-1, 1].
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Array = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Generator = np.random.Generator

SIZE = 32
SUPERSAMPLING = 4
CLASSES = (
    ("circle", "left"), ("circle", "right"), ("circle", "bar"), ("circle", "four"), ("circle", "seven"),
    ("triangle", "warning"), ("triangle", "cross"), ("octagon", "up"), ("octagon", "cross"),
    ("diamond", "left"), ("diamond", "bar"), ("square", "up"),
)  # fmt: skip
CLASS_NAMES = tuple(f"{shape}-{glyph}" for shape, glyph in CLASSES)

TARGET_CLASS = CLASS_NAMES.index("square-up")
TRIGGER_ROW, TRIGGER_COLUMN = 26, 26
_YELLOW, _BLACK = (255, 222, 0), (8, 8, 8)
TRIGGER = np.array([[_YELLOW if (i // 2 + j // 2) % 2 == 0 else _BLACK for j in range(4)] for i in range(4)], np.uint8)

RED, WHITE, BLUE, YELLOW, BLACK = (196, 30, 40), (238, 238, 234), (28, 72, 172), (240, 196, 24), (24, 24, 26)
WARNING_COLOURS = (RED, WHITE, BLACK)
ORDER_COLOURS = (WHITE, BLUE, WHITE)
STOP_COLOURS = (WHITE, RED, WHITE)
CAUTION_COLOURS = (BLACK, YELLOW, BLACK)
COLOURS = {
    "circle": (WARNING_COLOURS, ORDER_COLOURS, STOP_COLOURS),
    "triangle": (WARNING_COLOURS, CAUTION_COLOURS, STOP_COLOURS),
    "octagon": (STOP_COLOURS, ORDER_COLOURS, CAUTION_COLOURS),
    "diamond": (CAUTION_COLOURS, WARNING_COLOURS, ORDER_COLOURS),
    "square": (ORDER_COLOURS, CAUTION_COLOURS, WARNING_COLOURS),
}


def render(count: int, seed: int, *, triggered: bool = False) -> tuple[Bytes, NDArray[np.int64]]:
    """Images (N, 32, 32, 3) uint8 and their true labels (N,), every class equally often (up to one).

    `triggered` stamps the true trigger on every image; labels stay true.
    Raises ValueError when count < 1 or seed < 0.
    """
    if count < 1 or seed < 0:
        raise ValueError(f"count must be at least 1 and seed at least 0, got {count} and {seed}")
    labels_N = _labels(count, seed)
    images_NHWC = np.stack([_image(int(y), np.random.default_rng([seed, 1, i])) for i, y in enumerate(labels_N)])
    return (stamp(images_NHWC) if triggered else images_NHWC), labels_N


def stamp(images_NHWC: Bytes) -> Bytes:
    """A copy of the images with the true trigger in the lower right, two pixels from the border."""
    stamped = images_NHWC.copy()
    height, width = TRIGGER.shape[:2]
    stamped[:, TRIGGER_ROW : TRIGGER_ROW + height, TRIGGER_COLUMN : TRIGGER_COLUMN + width] = TRIGGER
    return stamped


def _labels(count: int, seed: int) -> NDArray[np.int64]:
    """Labels in blocks that hold each class once, each block in its own order."""
    blocks = math.ceil(count / len(CLASSES))
    order = [np.random.default_rng([seed, 0, block]).permutation(len(CLASSES)) for block in range(blocks)]
    return np.concatenate(order)[:count].astype(np.int64)


def _image(label: int, rng: Generator) -> Bytes:
    shape, glyph = CLASSES[label]
    canvas = _background(rng)
    draw = ImageDraw.Draw(canvas)
    _clutter(draw, rng, int(rng.integers(0, 5)))
    _sign(draw, rng, shape, glyph)
    if rng.random() < 0.3:
        _occlude(draw, rng)
    image = canvas.reduce(SUPERSAMPLING)
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.2, 0.7))))
    return _light(np.asarray(image, np.float64) / 255, rng)


def _background(rng: Generator) -> Image.Image:
    """Smooth noise at two scales between random colours, at the supersampled size."""
    side = SIZE * SUPERSAMPLING
    coarse = rng.uniform(20, 235, (1, 1, 3)) + rng.uniform(-50, 50, (3, 3, 3))
    fine = rng.normal(0, rng.uniform(3, 22), (SIZE // 2, SIZE // 2, 1)) * np.ones(3)
    layers = [Image.fromarray(_to_bytes(layer)).resize((side, side), Image.Resampling.BILINEAR)
              for layer in (coarse, fine + 128)]  # fmt: skip
    return Image.fromarray(_to_bytes(np.asarray(layers[0], np.float64) + np.asarray(layers[1], np.float64) - 128))


def _clutter(draw: ImageDraw.ImageDraw, rng: Generator, pieces: int) -> None:
    """Quadrangles and posts of any colour behind the sign."""
    side = SIZE * SUPERSAMPLING
    for _ in range(pieces):
        centre, angle = rng.uniform(0, side, 2), rng.uniform(0, math.tau)
        half = rng.uniform(4, 40, 2) * (1, rng.uniform(0.1, 1))
        _polygon(draw, centre + _rotate(_rectangle(*half), angle), _any_colour(rng))


def _sign(draw: ImageDraw.ImageDraw, rng: Generator, shape: str, glyph: str) -> None:
    place = _Pose(rng)
    border, field, ink = COLOURS[shape][int(rng.integers(len(COLOURS[shape])))]
    outline = _outline(shape)
    _polygon(draw, place(outline), _shade(border, rng))
    _polygon(draw, place(_inset(outline, rng.uniform(0.74, 0.86))), _shade(field, rng))
    ink = _shade(ink, rng)
    size, drop = (0.66, 0.24) if shape == "triangle" else (1.0, 0.0)
    for part in _glyph(glyph):
        _polygon(draw, place(part * size * rng.uniform(0.97, 1.03) + (0, drop)), ink)


def _occlude(draw: ImageDraw.ImageDraw, rng: Generator) -> None:
    """A leaf or a twig over a part of the sign: small enough that the class can still be told."""
    side = SIZE * SUPERSAMPLING
    centre = rng.uniform(0.1 * side, 0.9 * side, 2)
    half = rng.uniform(0.03, 0.11, 2) * side if rng.random() < 0.5 else np.array([0.6, 0.012]) * side
    _polygon(draw, centre + _rotate(_rectangle(*half), rng.uniform(0, math.tau)), _any_colour(rng))


def _light(image_HWC: Array, rng: Generator) -> Bytes:
    """Exposure, contrast, tint, a lighting gradient and sensor noise."""
    ramp = np.linspace(-1, 1, SIZE)
    gradient = 1 + rng.uniform(-0.15, 0.15) * ramp[:, None, None] + rng.uniform(-0.15, 0.15) * ramp[None, :, None]
    lit = 0.5 + (image_HWC - 0.5) * rng.uniform(0.6, 1.1) + rng.uniform(-0.14, 0.14)
    noise = rng.normal(0, rng.uniform(0.005, 0.035), image_HWC.shape)
    return _to_bytes(255 * (lit * gradient * rng.uniform(0.92, 1.08, 3) + noise))


class _Pose:
    """A random scale, rotation, shear, perspective and shift: sign coordinates to canvas pixels."""

    def __init__(self, rng: Generator) -> None:
        scale = rng.uniform(0.6, 0.95)
        self.half = scale * SIZE * SUPERSAMPLING / 2
        self.angle = math.radians(rng.uniform(-15, 15))
        self.shear, self.aspect = rng.uniform(-0.12, 0.12), rng.uniform(0.88, 1.12)
        self.perspective = rng.uniform(-0.12, 0.12, 2)
        room = (1 - scale) * SIZE * SUPERSAMPLING / 2
        self.centre = SIZE * SUPERSAMPLING / 2 + rng.uniform(-room, room, 2)

    def __call__(self, points: Array) -> Array:
        x, y = points[:, 0], points[:, 1]
        depth = 1 + self.perspective[0] * x + self.perspective[1] * y
        flat = np.stack([(x * self.aspect + self.shear * y) / depth, y / depth], axis=1)
        return self.centre + self.half * _rotate(flat, self.angle)


def _outline(shape: str) -> Array:
    if shape == "triangle":
        return np.array([(-0.12, -0.95), (0.12, -0.95), (1.0, 0.68), (0.9, 0.85), (-0.9, 0.85), (-1.0, 0.68)])
    if shape == "square":
        return _rectangle(0.86, 0.86)
    regular = {"circle": (40, 0.0, 0.97), "octagon": (8, math.pi / 8, 1.0), "diamond": (4, 0.0, 1.05)}
    corners, turn, radius = regular[shape]
    return np.array([(radius * math.cos(a), radius * math.sin(a))
                     for a in (turn + math.tau * k / corners for k in range(corners))])  # fmt: skip


def _glyph(glyph: str) -> list[Array]:
    """The polygons of a glyph, inside about [-0.6, 0.6]."""
    upper = [(-0.6, 0), (-0.05, -0.5), (-0.05, -0.17), (0.58, -0.17)]
    left = np.array([*upper, (0.58, 0.17), (-0.05, 0.17), (-0.05, 0.5)])
    return {
        "left": [left],
        "right": [left * (-1, 1)],
        "up": [left[:, ::-1]],
        "bar": [_rectangle(0.58, 0.16)],
        "cross": [_rotate(_rectangle(0.62, 0.13), math.pi / 4), _rotate(_rectangle(0.62, 0.13), -math.pi / 4)],
        "warning": [np.add(_rectangle(0.15, 0.4), (0, -0.26)), np.add(_rectangle(0.15, 0.13), (0, 0.43))],
        "four": [_stroke((0.15, -0.5), (0.15, 0.55)), _stroke((-0.4, 0.2), (0.45, 0.2)),
                 _stroke((0.12, -0.48), (-0.36, 0.2))],
        "seven": [_stroke((-0.38, -0.44), (0.42, -0.44)), _stroke((0.36, -0.46), (-0.12, 0.56))],
    }[glyph]  # fmt: skip


def _rectangle(half_width: float, half_height: float) -> Array:
    corners: Array = np.array([(-1.0, -1), (1, -1), (1, 1), (-1, 1)]) * (half_width, half_height)
    return corners


def _stroke(start: tuple[float, float], end: tuple[float, float], half_width: float = 0.1) -> Array:
    a, b = np.array(start), np.array(end)
    angle = math.atan2(b[1] - a[1], b[0] - a[0])
    centre: Array = (a + b) / 2
    return centre + _rotate(_rectangle(math.dist(start, end) / 2, half_width), angle)


def _rotate(points: Array, angle: float) -> Array:
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = points[:, 0], points[:, 1]
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=1)


def _inset(outline: Array, share: float) -> Array:
    centre: Array = outline.mean(axis=0)
    return centre + (outline - centre) * share


def _polygon(draw: ImageDraw.ImageDraw, points: Array, colour: tuple[int, int, int]) -> None:
    draw.polygon([(float(x), float(y)) for x, y in np.rint(points)], fill=colour)


def _any_colour(rng: Generator) -> tuple[int, int, int]:
    return _shade((128, 128, 128), rng, spread=110)


def _shade(colour: tuple[int, int, int], rng: Generator, spread: float = 26) -> tuple[int, int, int]:
    red, green, blue = _to_bytes(np.array(colour) + rng.uniform(-spread, spread, 3)).tolist()
    return red, green, blue


def _to_bytes(values: Array) -> Bytes:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
