"""The colours of the interface. None of them carries a meaning alone: a sign or a word goes with it."""

from textual.theme import Theme

BLUE, GREEN, AMBER, RED = "#5fa8d3", "#6bbf8a", "#e9a23b", "#e5625e"

THEME = Theme(
    name="auditor", primary=BLUE, secondary="#7d8ca3", accent="#e9c46a", warning=AMBER, error=RED, success=GREEN,
    background="#11151c", surface="#161b24", panel="#212936", foreground="#dfe5ee",
)  # fmt: skip
