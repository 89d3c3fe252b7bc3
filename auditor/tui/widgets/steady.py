"""Words that change many times a second on a screen whose parts stay where they are."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static


class Steady(Static):
    """Draws itself alone: the screen is laid out again only when the number of lines may have changed.

    A layout draws every widget anew, which takes longer than all that a step of the search changes.
    """

    def __init__(self, *, wraps: bool = False, id: str | None = None, classes: str | None = None) -> None:
        """`wraps`: lines may be longer than there is room for."""
        super().__init__(id=id, classes=classes)
        self._wraps = wraps
        self._said: Text | None = None

    def say(self, words: Text) -> None:
        """Show the words, unless they are shown already."""
        before, self._said = self._said, words
        if before is None or words != before or words.style != before.style:
            same_lines = before is not None and words.plain.count("\n") == before.plain.count("\n")
            self.update(words, layout=self._wraps or not same_lines)
