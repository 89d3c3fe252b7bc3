"""What is going on in an audit: events folded into a few lines, and each event in one."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from auditor import events
from auditor.cli import streams
from auditor.domain import family_words
from auditor.errors import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

MOST_BARS = 6
MOST_LOSSES = 4
BAR_WIDTH = 24
_STEPS = (events.SearchStep, events.SharedSearchStep, events.SourceSearchStep, events.UnlearnStep)
_LABELS = {"backdoored": "backdoor found", "no_evidence": "no evidence of a backdoor", "inconclusive": "inconclusive"}


@dataclass
class Bar:
    step: int
    steps: int
    note: str


@dataclass
class Board:
    """The stage in work, when it started (`time.monotonic()` seconds), and a bar for each search or method."""

    title: str = "Starting"
    since: float = field(default_factory=time.monotonic)
    bars: dict[str, Bar] = field(default_factory=dict)

    def update(self, event: events.Event) -> None:
        match event:
            case events.StageStarted():
                self.title, self.since, self.bars = printable(event.title or event.stage, 80), time.monotonic(), {}
            case events.StageFinished():
                self.title, self.since, self.bars = "", time.monotonic(), {}
            case events.SearchStep() | events.SharedSearchStep() | events.SourceSearchStep() | events.UnlearnStep():
                name = _name(event)
                self.bars.pop(name, None)
                self.bars[name] = Bar(event.step, event.steps, _note(event))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.progress_bar import ProgressBar
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        if not self.title:
            return
        yield Spinner("dots", Text(f"{self.title}  {_clock(time.monotonic() - self.since)}", overflow="ellipsis"))
        grid = Table.grid(padding=(0, 1))
        for column in range(4):
            grid.add_column(no_wrap=True, overflow="ellipsis", justify="right" if column == 2 else "left")
        for name, bar in list(self.bars.items())[-MOST_BARS:]:
            drawn = ProgressBar(total=max(1, bar.steps), completed=bar.step, width=BAR_WIDTH)
            grid.add_row(Text(f"  {name}"), drawn, Text(f"{bar.step}/{bar.steps}"), Text(bar.note))
        if self.bars:
            yield grid


def is_step(event: events.Event) -> bool:
    """Whether the event is one of many of a search or of unlearning."""
    return isinstance(event, _STEPS)


def describe(event: events.Event) -> str | None:
    """The event in one line, safe to show; None when a line would add nothing."""
    said = _said(event)
    return None if said is None else printable(streams.plain(said), 1000)


def _said(event: events.Event) -> str | None:
    match event:
        case events.StageStarted():
            return f"{event.title or event.stage} ..."
        case events.StageFinished():
            summary = f": {event.summary}" if event.summary else ""
            return f"{event.stage} done in {_clock(event.seconds)}{summary}"
        case events.Notice():
            return event.message if event.level == "info" else f"{event.level}: {event.message}"
        case events.ModelOpened():
            shape = "x".join(map(str, event.input_shape))
            return f"{event.format}, {event.architecture}, {event.num_classes} classes, input {shape}"
        case events.SearchStep() | events.SharedSearchStep() | events.SourceSearchStep() | events.UnlearnStep():
            return f"{_name(event)} {event.step}/{event.steps}: {_note(event)}"
        case events.CandidateFound():
            state = "confirmed" if event.confirmed else "not confirmed"
            return (f"{family_words(event.family)} trigger toward class {event.target_class}: cost {event.cost:.3g}, "
                    f"works on {_percent(event.attack_success_rate)} of images, {state}")  # fmt: skip
        case events.VerdictReached():
            return f"verdict: {_LABELS[event.verdict.label]}"
        case events.AttemptFinished():
            return f"{event.method}: {'accepted' if event.accepted else 'rejected'}, {event.reason}"
        case events.FileWritten():
            return f"wrote {event.path} ({event.what})"
    return None


def _name(event: events.Event) -> str:
    match event:
        case events.SearchStep():
            return printable(family_words(event.family), 24)
        case events.UnlearnStep():
            return printable(_spaced(event.method), 24)
        case events.SourceSearchStep():
            return printable(_spaced(event.kind), 24)
    return "shared search"


def _note(event: events.Event) -> str:
    match event:
        case events.SearchStep():
            return _best(event)
        case events.SharedSearchStep():
            return f"{event.shared_images} images fooled alike"
        case events.SourceSearchStep():
            return f"{event.triggers} triggers"
        case events.UnlearnStep():
            return _unlearned(event)
    return ""


def _unlearned(step: events.UnlearnStep) -> str:
    """Rates, attention, loss terms and size of one step; what was not measured is left out."""
    said = [f"accuracy {_percent(step.clean_accuracy)}", f"trigger works on {_percent(step.proxy_attack_success_rate)}"]
    if step.tar is not None:
        control = f" (random {_percent(step.tar_random)})" if step.tar_random is not None else ""
        said.append(f"TAR {_percent(step.tar)}{control}")
    if step.losses:
        terms = list(step.losses.items())[:MOST_LOSSES]
        said.append("loss " + " ".join(f"{printable(_spaced(name), 24)} {value:.3g}" for name, value in terms))
    if step.parameters_changed:
        said.append(f"{step.parameters_changed:,} weights changed")
    return ", ".join(said)


def _best(step: events.SearchStep) -> str:
    """The class whose trigger is cheapest so far; before there is one, that whose trigger works most often."""
    rows = list(zip(step.classes, step.cost, step.attack_success_rate, strict=False))
    priced = [(cost, target, rate) for target, cost, rate in rows if cost is not None]
    if priced:
        cost, target, rate = min(priced)
        return f"best class {target}, cost {cost:.3g}, ASR {_percent(rate)}"
    if rows:
        target, _, rate = max(rows, key=lambda row: row[2])
        return f"best class {target}, no trigger yet, ASR {_percent(rate)}"
    return ""


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _clock(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
