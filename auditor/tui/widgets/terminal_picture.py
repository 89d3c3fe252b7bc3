"""A picture in the terminal's own graphics (sixels, or kitty's protocol).

The import asks the terminal what it can draw, which is possible only before the interface has it.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from textual.app import ComposeResult
from textual.widgets import Static
from textual_image.renderable import Image as Drawn
from textual_image.renderable import SixelImage, TGPImage
from textual_image.widget import Image as ImageWidget

from auditor.tui.pictures import Pixels
from auditor.tui.widgets.halfblock import PictureWidget

IS_SUPPORTED = Drawn in (SixelImage, TGPImage)
ENLARGED_TO = 256


class TerminalPicture(PictureWidget):
    """One image widget, hidden until there is a picture."""

    DEFAULT_CSS = """
    TerminalPicture { align: center middle; }
    TerminalPicture > .graphic { width: auto; height: 100%; }
    TerminalPicture > Static { width: auto; text-style: dim; }
    """

    def compose(self) -> ComposeResult:
        yield Static(self._empty)
        yield ImageWidget(classes="graphic")

    def watch_pixels(self, pixels: Pixels | None) -> None:
        if not self.is_mounted:
            return
        self.query_one(Static).display = pixels is None
        graphic = self.query_one(ImageWidget)
        graphic.display = pixels is not None
        graphic.image = None if pixels is None else enlarged(pixels)


def enlarged(pixels: Pixels) -> Image.Image:
    """The picture with square pixels, as the terminal would blur them."""
    times = max(1, ENLARGED_TO // max(pixels.shape[:2]))
    levels = np.rint(pixels * 255).astype(np.uint8)
    return Image.fromarray(levels.repeat(times, axis=0).repeat(times, axis=1))
