"""What is known of the paths on the Open screen: what lies there, and how the trial of the model went."""

from __future__ import annotations

from collections.abc import Callable

from auditor.tui.checking import Check
from auditor.tui.messages import Looked
from auditor.tui.opening import FileFacts, ImageFacts, look_at_images, look_at_model


def look(token: int, model: str, clean: str, is_cancelled: Callable[[], bool]) -> Looked:
    """In a worker: look at both paths, as far as they are given."""
    return Looked(
        token, look_at_model(model, is_cancelled) if model else None, look_at_images(clean, is_cancelled) if clean else None
    )  # fmt: skip


class Choice:
    """`token` counts the changes, so that what is learnt of an earlier choice is left out."""

    def __init__(self) -> None:
        self.token = 0
        self.model: FileFacts | None = None
        self.clean: ImageFacts | None = None
        self.trial = Check()

    def change(self) -> None:
        """Another path was given: the trial of the one before ends."""
        self.token += 1
        self.trial.end()

    def take(self, message: Looked) -> bool:
        """Take in what lies at the paths, where they are still the chosen ones."""
        if message.token != self.token:
            return False
        self.model, self.clean = message.model, message.clean
        return True

    def paths_problem(self, model: str, clean: str) -> str:
        """Why the model cannot be tried, or nothing."""
        if not model:
            return "Choose a checkpoint to start."
        if self.model is None or self.model.path != model:
            return "Looking at the file."
        if self.model.problem:
            return "This checkpoint cannot be audited: see above."
        if clean and (self.clean is None or self.clean.path != clean):
            return "Looking at the images."
        if clean and self.clean is not None and self.clean.problem:
            return "These images cannot be used: see above."
        return ""

    def why_not(self, model: str, clean: str) -> str:
        """Why an audit cannot start, or nothing."""
        return self.paths_problem(model, clean) or self.trial.why_not(self.token)
