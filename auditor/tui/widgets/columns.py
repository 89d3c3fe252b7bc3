"""Columns of a table that are wide enough from the first time they are drawn."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.widgets import DataTable


def widen(table: DataTable[Text], rows: Sequence[Sequence[Text]]) -> None:
    """Give the columns room for rows that are about to be written.

    Textual measures new cells only when it is idle. A row that a busy machine draws before stays cut off: it
    is kept as it was drawn, by a key that knows nothing of widths (Textualize/textual, issue 3533).
    """
    for column, cells in zip(table.ordered_columns, zip(*rows, strict=True), strict=False):
        column.content_width = max(column.content_width, *(cell.cell_len for cell in cells))
