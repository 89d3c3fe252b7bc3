"""Everything the screens show, built from events alone: the same live and in replay.

A screen can be thrown away and built again from the state at any time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from auditor.domain import AuditResult, ErrorRecord, Request, Verdict, family_words
from auditor.errors import printable
from auditor.events import (
    AttemptFinished,
    AuditFinished,
    CandidateFound,
    Event,
    FileWritten,
    ModelOpened,
    Notice,
    SearchStep,
    SharedSearchStep,
    StageFinished,
    StageStarted,
    UnlearnStep,
    VerdictReached,
)  # fmt: skip
from auditor.report.text import ClassNames, number, percent
from auditor.tui.pictures import Pixels, heat_maps, image
from auditor.tui.stages import Stages
from auditor.tui.standings import Standings
from auditor.tui.text import DONE, FAILED, NOTE, RUNNING, WARNING, clock

LONGEST_LOG = 2000
_LEVELS = {"info": NOTE, "warning": WARNING, "error": FAILED}


@dataclass
class Attempt:
    """One unlearning method at work; `accepted` is None until it has been judged."""

    method: str
    steps: list[UnlearnStep] = field(default_factory=list)
    accepted: bool | None = None
    reason: str = ""


@dataclass
class Following:
    """What the search shows at the moment: its step, the trigger forming, the share it flips."""

    step: int = 0
    family: str = ""
    picture: Pixels | None = None
    picture_class: int | None = None
    flip_shares: deque[float] = field(default_factory=lambda: deque(maxlen=400))


@dataclass(frozen=True)
class Progress:
    """How far the work at hand is; nothing is known of it where `steps` is 0."""

    label: str = ""
    step: int = 0
    steps: int = 0


class RunState:
    """The state of one run. `follow` takes each event, `finish` the outcome of a verb.

    `version` grows with every change, so that a screen knows when to draw. `log` holds
    (sign, line) pairs; `logged` counts all lines ever written to it.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.verb = ""
        self.is_running = False
        self.is_replay = False
        self.version = 0
        self.stages = Stages()
        self.model: ModelOpened | None = None
        self.standings = Standings()
        self.search = Following()
        self.progress = Progress()
        self.pictures: dict[tuple[str, int], Pixels] = {}
        self.verdict: Verdict | None = None
        self.attempts: list[Attempt] = []
        self.heat_maps: Pixels | None = None
        self.files: list[FileWritten] = []
        self.log: deque[tuple[str, str]] = deque(maxlen=LONGEST_LOG)
        self.logged = 0
        self.result: AuditResult | None = None
        self.errors: list[ErrorRecord] = []

    def begin(self, verb: str, request: Request) -> None:
        """Start a verb on this run; what earlier verbs found stays."""
        self.verb, self.request, self.is_running = verb, request, True
        self.errors, self.attempts, self.heat_maps = [], [], None
        self.stages.pass_on()
        self.progress = Progress()
        self.version += 1

    def finish(self, result: AuditResult | None, errors: list[ErrorRecord] | None = None) -> None:
        """The verb ended with this result, or with errors instead of one."""
        self.is_running = False
        self.errors = list(errors or (result.errors if result else []))
        if result is not None:
            self.result = result
            if result.verdict is not None:
                self._reach(result.verdict)
        self.stages.cut()
        for error in self.errors:
            self._log(FAILED, error.what)
        self.version += 1

    @property
    def exit_code(self) -> int | None:
        return self.result.run.exit_code if self.result else None

    @property
    def names(self) -> ClassNames:
        """The classes by name, where the clean images brought names."""
        images = self.result.images if self.result else None
        return ClassNames([printable(name, 40) for name in images.class_names] if images else [])

    @property
    def is_cancelled(self) -> bool:
        return any(error.kind == "cancelled" for error in self.errors)

    def follow(self, event: Event) -> None:
        """Take in one event."""
        self.version += 1
        match event:
            case StageStarted():
                self.progress = Progress()
                self.stages.start(event.stage, event.title)
                self._log(RUNNING, event.title)
            case StageFinished():
                self.progress = Progress()
                self.stages.finish(event.stage, event.seconds)
                said = f": {event.summary}" if event.summary else ""
                self._log(DONE, f"{event.stage} done in {clock(event.seconds)}{said}")
            case SearchStep():
                self._follow_search(event)
            case SharedSearchStep():
                self.progress = Progress("shared search", event.step, event.steps)
            case UnlearnStep():
                self._follow_unlearning(event)
            case AttemptFinished():
                self._judge_attempt(event)
            case _:
                self._follow_fact(event)

    def _follow_fact(self, event: Event) -> None:
        match event:
            case Notice():
                self._log(_LEVELS[event.level], event.message)
            case ModelOpened():
                self.model = event
                size = "x".join(str(side) for side in event.input_shape)
                self._log(NOTE, f"{event.architecture}: {event.num_classes} classes, input {size}")
            case CandidateFound():
                state = "confirmed" if event.confirmed else "not confirmed"
                self._log(WARNING, f"candidate toward {self.names(event.target_class)}: {family_words(event.family)}, cost "
                          f"{number(event.cost)}, flips {percent(event.attack_success_rate)}, {state}")  # fmt: skip
            case VerdictReached():
                self._reach(event.verdict)
                self._log(NOTE, f"verdict: {event.verdict.label.replace('_', ' ')}")
            case FileWritten():
                self.files = [*(file for file in self.files if file.path != event.path), event]
                self._log(NOTE, f"wrote {event.path}")
            case AuditFinished():
                self._log(NOTE, f"finished: {event.label.replace('_', ' ')}, exit code {event.exit_code}")
                self.stages.pass_on()

    def _follow_search(self, event: SearchStep) -> None:
        """After the verdict, a search looks at the sanitized model: it moves no standing."""
        which = "" if self.verdict is None else "fresh search: "
        self.progress = Progress(which + family_words(event.family), event.step, event.steps)
        if self.verdict is not None:
            return
        self.search.step, self.search.family = event.step, event.family
        self.standings.follow(event)
        shares = dict(zip(event.classes, event.attack_success_rate, strict=False))
        if shares:
            target = event.picture_class
            self.search.flip_shares.append(shares.get(target, 0.0) if target is not None else max(shares.values()))
        pixels = image(event.picture)
        if pixels is not None and event.picture_class is not None:
            self.search.picture, self.search.picture_class = pixels, event.picture_class
            self.pictures[event.family, event.picture_class] = pixels

    def _follow_unlearning(self, event: UnlearnStep) -> None:
        last = self.attempts[-1] if self.attempts else None
        if last is None or last.method != event.method or last.accepted is not None:
            last = Attempt(method=event.method)
            self.attempts.append(last)
        last.steps.append(event)
        self.progress = Progress(event.method, event.step, event.steps)
        maps = heat_maps(event.heat_maps)
        self.heat_maps = maps if maps is not None else self.heat_maps

    def _judge_attempt(self, event: AttemptFinished) -> None:
        last = self.attempts[-1] if self.attempts else None
        if last is None or last.method != event.method or last.accepted is not None:
            last = Attempt(method=event.method)
            self.attempts.append(last)
        last.accepted, last.reason = event.accepted, event.reason
        state = "accepted" if event.accepted else "not accepted"
        self._log(DONE if event.accepted else FAILED, f"{event.method} {state}: {event.reason}")

    def _reach(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.standings.settle(verdict.per_class)

    def _log(self, mark: str, line: str) -> None:
        self.log.append((mark, printable(line, 400)))
        self.logged += 1
