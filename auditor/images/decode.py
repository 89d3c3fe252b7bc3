"""Decodes one image file into 8-bit pixels, under limits that a hostile file cannot pass.

Legend: H height, W width, C channels (1 grey, 3 colour).
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from auditor.errors import InputError, printable

Pixels = NDArray[np.uint8]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "PPM")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".pgm", ".pbm", ".pnm"})
MAX_FILE_BYTES = 64 * 1024**2
MAX_IMAGE_PIXELS = 50_000_000
KEPT_SIDE = 1024
_ALPHA_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_CONVERT = "Convert it to an 8-bit PNG, or take it out of the folder."

# What was done to an image, and how the notice says it of a number of images.
ROTATED, DEEP, TRANSPARENT, REDUCED, ANIMATED = "rotated", "deep", "transparent", "reduced", "animated"
REMARKS = {
    ROTATED: "turned upright as their EXIF orientation says",
    DEEP: "reduced from 16 to 8 bits a channel",
    TRANSPARENT: "had transparent pixels, now laid over white",
    REDUCED: f"reduced to {KEPT_SIDE} pixels on their shorter side",
    ANIMATED: "animated: only the first frame was read",
}


def decode(path: Path, shown_name: str) -> tuple[Pixels, set[str]]:
    """The pixels (H, W, C) of an image file, and which of `REMARKS` apply to it.

    Orientation is applied, transparency is laid over white, 16-bit grey is scaled to 8 bits and
    palette and CMYK become RGB, so that the pixels are what a person sees in a viewer.
    Raises InputError naming the file when it is too large, broken, or of another format.
    """
    data = _read(path, shown_name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_claims(image, shown_name)
                return _pixels(image)
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly any type on broken bytes.
        raise InputError(f"{shown_name} cannot be decoded: {_reason(error)}", _CONVERT) from error


def _read(path: Path, shown_name: str) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"{shown_name} cannot be read: {error.strerror}.", "Check its permissions.") from error
    if len(data) > MAX_FILE_BYTES:
        raise InputError(f"{shown_name} is larger than {MAX_FILE_BYTES // 1024**2} MiB.", _CONVERT)
    return data


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"it is none of {', '.join(FORMATS)}."
    if isinstance(error, Image.DecompressionBombError):
        return f"it claims more than {MAX_IMAGE_PIXELS:,} pixels."
    return f"it is broken or cut short ({printable(error, 80)})."


def _check_claims(image: Image.Image, shown_name: str) -> None:
    """Refuse by the header alone, before any pixel is unpacked."""
    width, height = image.size
    if width * height > MAX_IMAGE_PIXELS:
        raise InputError(
            f"{shown_name} claims {width} x {height} pixels; at most {MAX_IMAGE_PIXELS:,} are decoded.", _CONVERT
        )
    # Pillow reads text and unusual bit depths of this format in Python, pixel by pixel.
    if isinstance(image, ImageFile.ImageFile) and image.format == "PPM" and image.tile[0][0] != "raw":
        raise InputError(f"{shown_name} is not a binary 8-bit PPM.", _CONVERT)


def _pixels(image: Image.Image) -> tuple[Pixels, set[str]]:
    remarks = set()
    if getattr(image, "n_frames", 1) > 1 and image.format in ("PNG", "WEBP"):
        remarks.add(ANIMATED)
    image.load()
    if image.getexif().get(0x0112, 1) in range(2, 9):
        image = ImageOps.exif_transpose(image)
        remarks.add(ROTATED)
    if image.mode.startswith("I"):
        image = _from_16_bits(image)
        remarks.add(DEEP)
    image, is_transparent = _flattened(image)
    if is_transparent:
        remarks.add(TRANSPARENT)
    if min(image.size) > KEPT_SIDE:
        scale = KEPT_SIDE / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
        remarks.add(REDUCED)
    pixels = np.array(image, dtype=np.uint8)
    return pixels.reshape(image.height, image.width, -1), remarks


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Scale 0..65535 to 0..255; Pillow's own conversion clips everything above 255 to white."""
    values = np.asarray(image).astype(np.int64).clip(0, 65535)
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _flattened(image: Image.Image) -> tuple[Image.Image, bool]:
    """The image as L or RGB, and whether anything in it was transparent."""
    is_grey = image.mode in ("1", "L", "LA", "La")
    is_transparent = False
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        layer = image.convert("RGBA")
        is_transparent = layer.getchannel("A").getextrema()[0] != 255
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("L" if is_grey else "RGB"), is_transparent
