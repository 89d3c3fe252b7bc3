"""`refit_ascent`: `refit`, and then `ascent` from where it ended.

Ours. What `refit` leaves is what its triggers share too little with the true one to tell; an ascent on the same
triggers, that starts there and still answers clean images as the suspect did, moves the weights elsewhere than a
ridge regression does. On calibration models the two leave less than either, for half a point of accuracy at most
(benchmarks/RESULTS.md, "remove").
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from auditor.events import Event
from auditor.unlearn.ascent import Ascent
from auditor.unlearn.method import Task, counted
from auditor.unlearn.refit import Refit

if TYPE_CHECKING:
    from auditor.suspect import Suspect


@dataclass(frozen=True, kw_only=True)
class RefitAscent(Refit):
    """`refit` with these settings, then `ascent_epochs` of `ascent` with its own, whose Fisher information and elastic
    weights are those of the refitted model and whose clean answers are the suspect's. It does without the recovery: so
    near the suspect's answers there is nothing to recover but the backdoor; and its steps do not grow with the images, as
    it was measured. A reconstruction, as `ascent` is one.
    """

    ascent_epochs: int = 10
    name: str = "refit_ascent"
    is_reconstruction: bool = True

    def run(self, task: Task) -> Generator[Event, None, Suspect]:
        """Sanitize a copy of the suspect; the steps of both count as one run's."""
        ascent = Ascent(ascent_epochs=self.ascent_epochs, recovery_epochs=0, passes=0.0)
        refitted, steps = yield from counted(super().run(task), self.name, 0, ascent.steps)
        if task.control.stop_requested:
            return refitted
        return (yield from counted(ascent.run(replace(task, begun=refitted)), self.name, steps, 0))[0]
