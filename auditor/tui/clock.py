"""The clock of a run: it follows the times of its events, and goes on between them."""

from __future__ import annotations

import time


class Clock:
    """Seconds since the run began, pauses left out. `speed` is above 1 in a quick replay."""

    def __init__(self) -> None:
        self.speed = 1.0
        self._at_s = 0.0
        self._since: float | None = None

    def reach(self, at_s: float) -> None:
        """An event happened; one without a time moves nothing back."""
        self._at_s = at_s if at_s > 0 else self.now_s
        self._since = time.monotonic()

    def stop(self) -> None:
        """Nothing runs: time stands still until the next event."""
        self._at_s, self._since = self.now_s, None

    @property
    def now_s(self) -> float:
        return self._at_s + (0.0 if self._since is None else (time.monotonic() - self._since) * self.speed)
