"""What went wrong, where it happened, with the next step."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from auditor.domain import ErrorRecord
from auditor.tui.text import FAILED, WARNING, marked, shown
from auditor.tui.widgets.steady import Steady


class Problem(Steady):
    """Hidden until it has something to say."""

    DEFAULT_CSS = "Problem { display: none; }"

    def __init__(self, classes: str | None = None) -> None:
        super().__init__(wraps=True, classes=classes)

    def draw(self, errors: Sequence[ErrorRecord], keys: str = "") -> None:
        """Show the errors and the keys that lead on; hide when there are none."""
        self.display = bool(errors)
        said: list[Text] = []
        for error in errors[:4]:
            is_choice = error.kind == "cancelled"
            said.append(marked(WARNING if is_choice else FAILED, error.what))
            if error.next_step:
                said.append(Text(f"  {shown(error.next_step, 400)}"))
        if keys:
            said.append(Text(keys, style="dim"))
        self.border_title = "Stopped" if errors and errors[0].kind == "cancelled" else "Could not go on"
        self.say(Text("\n").join(said))
