"""The colours of the interface; every widget names them by what they mean."""

from textual.theme import Theme

THEME = Theme(
    name="auditor", primary="#5fa8d3", secondary="#7d8ca3", accent="#e9c46a", warning="#e9a23b", error="#e5625e",
    success="#6bbf8a", background="#11151c", surface="#161b24", panel="#212936", foreground="#dfe5ee",
)  # fmt: skip
