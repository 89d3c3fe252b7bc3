"""The best state of a model in work, by what the monitor reads of it."""

from __future__ import annotations

from auditor.suspect import Suspect
from auditor.unlearn.method import Reading

LOSS_WEIGHT = 2.0


class Best:
    """Remembers the state with the least attack success rate and least clean accuracy lost.

    A point of accuracy below the suspect's weighs as `LOSS_WEIGHT` points of attack success. Of
    equals the latest is kept: on few images the rates are coarse, and losses fall further.
    """

    def __init__(self, model: Suspect, before: Reading) -> None:
        self.model, self.before = model, before
        self.reading, self.state = before, model.state()

    def offer(self, reading: Reading) -> bool:
        """Remember the model as it is now when it is no worse than the best; says whether it was."""
        better = self._badness(reading) <= self._badness(self.reading)
        if better:
            self.reading, self.state = reading, self.model.state()
        return better

    def restore(self) -> Reading:
        """Put the best state back into the model; what the monitor read of it."""
        self.model.module.load_state_dict(self.state)
        return self.reading

    def _badness(self, reading: Reading) -> float:
        lost = max(0.0, self.before.clean_accuracy - reading.clean_accuracy)
        return reading.attack_success_rate + LOSS_WEIGHT * lost
