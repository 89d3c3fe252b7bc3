"""How long to search, each choice with the time that it takes."""

from __future__ import annotations

from collections.abc import Sequence

from textual.widgets import Select

from auditor.report.text import duration
from auditor.request import Profile
from auditor.tui.history import PastRun, expected_search_s
from auditor.tui.opening import PROFILES, USUAL_TIMES


class ProfileSelect(Select[Profile]):
    """The profiles with how long a search takes: as earlier ones of this network did here, or as usual."""

    def __init__(self) -> None:
        self._said = _timed([], "")
        super().__init__(self._said, value="standard", allow_blank=False, id="profile", compact=True)

    @property
    def profile(self) -> Profile:
        return next(known for known in PROFILES if known == self.value)

    def retime(self, runs: Sequence[PastRun], architecture: str) -> None:
        """Say the times for a network, as far as earlier runs tell them."""
        timed = _timed(runs, architecture)
        if timed != self._said:
            self._said, chosen = timed, self.value
            with self.prevent(Select.Changed):
                self.set_options(timed)
                self.value = chosen


def _timed(runs: Sequence[PastRun], architecture: str) -> list[tuple[str, Profile]]:
    found = []
    for profile in PROFILES:
        seconds = expected_search_s(runs, architecture, profile)
        said = USUAL_TIMES[profile] if seconds is None else f"about {duration(round(seconds))}, as before"
        found.append((f"{profile}: {said}", profile))
    return found
