"""The colours of the interface. None of them carries a meaning alone: a sign or a word goes with it.

Text is styled with the terminal's colour names; a theme, light or dark, says how each looks.
"""

from __future__ import annotations

from rich.terminal_theme import TerminalTheme
from textual.theme import Theme

BLUE, GREEN, AMBER, RED = "blue", "green", "yellow", "red"

DARK = Theme(
    name="auditor", primary="#5fa8d3", secondary="#7d8ca3", accent="#e9c46a", warning="#e9a23b", error="#e5625e",
    success="#6bbf8a", background="#11151c", surface="#161b24", panel="#212936", foreground="#dfe5ee",
)  # fmt: skip
LIGHT = Theme(
    name="auditor-light", primary="#1f6f9f", secondary="#5b6b80", accent="#8a6100", warning="#8a5a00", error="#b3261e",
    success="#1f7a45", background="#fbfaf7", surface="#f3f1ec", panel="#e4e1d9", foreground="#1d232b", dark=False,
)  # fmt: skip


def _terminal(theme: Theme) -> TerminalTheme:
    """The eight colour names in a theme's own colours."""

    def rgb(colour: str | None) -> tuple[int, int, int]:
        digits = (colour or "#000000").lstrip("#")
        return int(digits[0:2], 16), int(digits[2:4], 16), int(digits[4:6], 16)

    named = [theme.foreground, theme.error, theme.success, theme.warning, theme.primary, theme.accent, theme.secondary,
             theme.foreground]  # fmt: skip
    return TerminalTheme(rgb(theme.background), rgb(theme.foreground), [rgb(colour) for colour in named])


DARK_TERMINAL, LIGHT_TERMINAL = _terminal(DARK), _terminal(LIGHT)
