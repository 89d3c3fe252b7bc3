"""How far a verb is as a whole, and about how long it will still take.

The shares are what the stages took in audits of small networks on two cores; they make the bar move
evenly, and the time left is an estimate from the time so far.
"""

from __future__ import annotations

from auditor.search import FAMILIES

STAGES = ("open", "preflight", "detect", "attend", "unlearn", "export")
SHARES = {"open": 3.0, "preflight": 0.5, "detect": 47.0, "attend": 1.0, "unlearn": 52.0, "export": 6.0}
RESTORED = 0.5
QUICK_FAMILIES = 3
METHOD_SHARE = 0.35
SAYS_FROM = 0.04


class Pace:
    """Follows the stages and steps of one verb. `has_verdict`: the search was done by an earlier verb."""

    def __init__(self, verb: str = "", profile: str = "standard", *, has_verdict: bool = False) -> None:
        self._stages = [name for name in STAGES if verb != "scan" or name not in ("unlearn", "export")]
        self._shares = SHARES | {"detect": RESTORED} if has_verdict else SHARES
        self._families_in_all = QUICK_FAMILIES if profile == "quick" else len(FAMILIES)
        self._done: set[str] = set()
        self._running = ""
        self._within = 0.0
        self._families: list[str] = []

    def start(self, stage: str) -> None:
        self._running, self._within, self._families = stage, 0.0, []

    def finish(self, stage: str) -> None:
        self._done.add(stage)
        self._running, self._within = "", 0.0

    def search(self, family: str, step: int, steps: int) -> None:
        """A step of a family's search, in detection or in the verification after a method."""
        if family not in self._families:
            self._families.append(family)
        through = (len(self._families) - 1 + _share(step, steps)) / max(self._families_in_all, len(self._families))
        self._reach(METHOD_SHARE + (1 - METHOD_SHARE) * through if self._running == "unlearn" else through)

    def unlearn(self, step: int, steps: int) -> None:
        """A step of a method: the verification that follows it takes longer."""
        self._families = []
        self._reach(METHOD_SHARE * _share(step, steps))

    def _reach(self, share: float) -> None:
        self._within = max(self._within, share)

    @property
    def share(self) -> float:
        """How much of the verb is done, in [0, 1]."""
        total = sum(self._shares[name] for name in self._stages)
        done = sum(self._shares[name] for name in self._stages if name in self._done and name != self._running)
        now = self._shares[self._running] * self._within if self._running in self._stages else 0.0
        return min((done + now) / total, 1.0)

    def left_s(self, spent_s: float) -> float | None:
        """About how many seconds are left after `spent_s` on this verb; None while it is too early to say."""
        share = self.share
        return None if share < SAYS_FROM else spent_s * (1 - share) / share


def _share(step: int, steps: int) -> float:
    return min(max(step / steps, 0.0), 1.0) if steps > 0 else 0.0
