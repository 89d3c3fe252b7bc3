"""A rate over time: its latest value in words, and a line of it on a fixed scale from 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.widgets import Static

from auditor.tui.theme import BLUE

LEVELS = " ▁▂▃▄▅▆▇█"


class Gauge(Static):
    """Two lines: words in `room` cells on the left, the values of the whole run on the right."""

    DEFAULT_CSS = "Gauge { height: 2; }"

    def __init__(self, label: str, *, room: int = 24, id: str | None = None) -> None:
        super().__init__(id=id)
        self._label = label
        self._room = room

    def draw(self, values: Sequence[float], said: str) -> None:
        """Show all values so far, and the latest in words."""
        upper, lower = spark(values, max(4, self.content_size.width - self._room))
        self.update(Text.assemble(
            (self._words(self._label), "dim"), (upper, BLUE), "\n", (self._words(said), "bold"), (lower, BLUE),
        ))  # fmt: skip

    def _words(self, words: str) -> str:
        return words[: self._room - 1].ljust(self._room)


def spark(values: Sequence[float], width: int) -> tuple[str, str]:
    """The upper and lower row of a line of values in [0, 1], the first at the left end.

    Values beyond `width` are thinned evenly. Zero is drawn as the lowest step, so that it shows.
    """
    if len(values) > width:
        values = [values[(i + 1) * len(values) // width - 1] for i in range(width)]
    steps = [max(1, round(min(max(value, 0.0), 1.0) * 16)) for value in values]
    upper = "".join(LEVELS[max(0, step - 8)] for step in steps)
    return upper, "".join(LEVELS[min(8, step)] for step in steps)
