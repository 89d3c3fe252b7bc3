"""The stages of a run in the order a person meets them, over all verbs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class Stage:
    """One line of the rail. `seconds` is None while it runs; `is_done` is False where it was cut short.

    `began_s` is the run's clock at its start; `earlier_s` is what an earlier verb spent on it;
    `is_current` is False until this verb comes to it.
    """

    name: str
    title: str
    began_s: float
    earlier_s: float = 0.0
    seconds: float | None = None
    is_done: bool = False
    is_current: bool = True

    def spent_s(self, now_s: float) -> float:
        """Seconds on it so far by the run's clock, those of earlier verbs among them."""
        return self.seconds if self.seconds is not None else self.earlier_s + max(0.0, now_s - self.began_s)


class Stages:
    """A stage of an earlier verb goes on where it is; one met twice in a verb gets a second line."""

    def __init__(self) -> None:
        self._lines: list[Stage] = []

    def __iter__(self) -> Iterator[Stage]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def running(self) -> Stage | None:
        """The stage at work; None between stages."""
        return next((stage for stage in reversed(self._lines) if stage.seconds is None), None)

    def start(self, name: str, title: str, now_s: float) -> None:
        stage = Stage(name=name, title=title, began_s=now_s)
        for index, old in enumerate(self._lines):
            if old.name == name and not old.is_current:
                stage.earlier_s = old.seconds or 0.0
                self._lines[index] = stage
                return
        self._lines.append(stage)

    def finish(self, name: str, seconds: float) -> None:
        """The stage is done, after `seconds` in this verb."""
        for stage in self._lines:
            if stage.name == name and stage.seconds is None:
                stage.seconds, stage.is_done = stage.earlier_s + seconds, True

    def cut(self, now_s: float) -> None:
        """The verb ended: what still runs was cut short."""
        for stage in self._lines:
            stage.seconds = stage.spent_s(now_s)

    def pass_on(self) -> None:
        """A verb is over: the next one comes to the same stages again."""
        for stage in self._lines:
            stage.is_current = False
