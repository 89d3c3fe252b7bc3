"""Everything the screens show, built from events alone: the same live and in replay.

A screen can be thrown away and built again from the state at any time.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from dataclasses import dataclass, field

from auditor.domain import AuditResult, ErrorRecord, Verdict, family_words
from auditor.errors import printable
from auditor.events import (
    AttemptFinished,
    AuditFinished,
    CandidateFound,
    Event,
    FileWritten,
    ModelOpened,
    Notice,
    ResultReached,
    SearchStep,
    SharedSearchStep,
    SourceSearchStep,
    StageFinished,
    StageStarted,
    UnlearnStep,
    VerdictReached,
)  # fmt: skip
from auditor.report.text import ClassNames, number, percent
from auditor.request import Request
from auditor.tui.clock import Clock
from auditor.tui.evidence import Evidence
from auditor.tui.pace import Pace
from auditor.tui.pictures import Pixels, heat_maps, image
from auditor.tui.series import Series
from auditor.tui.stages import Stages
from auditor.tui.standings import Standings
from auditor.tui.text import DONE, FAILED, NOTE, RUNNING, WARNING, clock

LONGEST_LOG = 2000
MOST_ATTEMPTS = 100
MOST_FILES = 100
_LEVELS = {"info": NOTE, "warning": WARNING, "error": FAILED}


@dataclass
class Attempt:
    """One unlearning method at work; `accepted` is None until it has been judged.

    `first_maps` and `maps` are heat-maps at its first step and now, (n, H, W) in [0, 1].
    """

    method: str
    accuracy: Series = field(default_factory=Series)
    flips: Series = field(default_factory=Series)
    tar: Series = field(default_factory=Series)
    control: Series = field(default_factory=Series)
    latest: UnlearnStep | None = None
    first_maps: Pixels | None = None
    maps: Pixels | None = None
    accepted: bool | None = None
    reason: str = ""

    def follow(self, step: UnlearnStep) -> None:
        """Take in a step; its arrays are kept apart, so that a long run stays small."""
        self.latest = dataclasses.replace(step, heat_maps=None)
        self.accuracy.append(step.clean_accuracy)
        self.flips.append(step.proxy_attack_success_rate)
        if step.tar is not None:
            self.tar.append(step.tar)
        beside = step.tar_random
        if isinstance(beside, float):
            self.control.append(beside)
        maps = heat_maps(step.heat_maps)
        if maps is not None:
            self.first_maps = maps if self.first_maps is None else self.first_maps
            self.maps = maps


@dataclass
class Following:
    """What the search shows at the moment: its step, the trigger forming, its loss and the share it flips."""

    step: int = 0
    steps: int = 0
    family: str = ""
    picture: Pixels | None = None
    picture_class: int | None = None
    flip_shares: Series = field(default_factory=Series)
    losses: Series = field(default_factory=Series)


@dataclass(frozen=True)
class Progress:
    """How far the work at hand is; nothing is known of it where `steps` is 0."""

    label: str = ""
    step: int = 0
    steps: int = 0


class RunState:
    """The state of one run. `follow` takes each event, `finish` the outcome of a verb.

    `version` grows with every change, so that a screen knows when to draw. `log` holds
    (sign, line) pairs; `logged` counts all lines ever written to it. `evidence` holds the arrays
    that the result names, once they were read.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.verb = ""
        self.is_running = False
        self.is_replay = False
        self.version = 0
        self.clock = Clock()
        self.pace = Pace()
        self.began_s = 0.0
        self.stages = Stages()
        self.model: ModelOpened | None = None
        self.standings = Standings()
        self.search = Following()
        self.progress = Progress()
        self.pictures: dict[tuple[str, int], Pixels] = {}
        self.candidates: list[CandidateFound] = []
        self.verdict: Verdict | None = None
        self.attempts: list[Attempt] = []
        self.files: list[FileWritten] = []
        self.log: deque[tuple[str, str]] = deque(maxlen=LONGEST_LOG)
        self.logged = 0
        self.result: AuditResult | None = None
        self.evidence = Evidence()
        self.errors: list[ErrorRecord] = []

    def begin(self, verb: str, request: Request) -> None:
        """Start a verb on this run; what earlier verbs found stays."""
        self.verb, self.request, self.is_running = verb, request, True
        self.errors, self.attempts = [], []
        self.pace = Pace(verb, request.profile, has_verdict=self.verdict is not None)
        self.began_s = self.clock.now_s
        self.stages.pass_on()
        self.progress = Progress()
        self.version += 1

    def finish(
        self, result: AuditResult | None, errors: list[ErrorRecord] | None = None, evidence: Evidence | None = None
    ) -> None:
        """The verb ended with this result, or with errors instead of one."""
        self.is_running = False
        self.errors = list(errors or (result.errors if result else []))
        if result is not None:
            self._take(result)
        self.evidence = evidence or self.evidence
        self.stages.cut(self.clock.now_s)
        self.clock.stop()
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

    @property
    def is_backdoored(self) -> bool:
        return self.verdict is not None and self.verdict.label == "backdoored"

    @property
    def left_s(self) -> float | None:
        """About how long the verb will still take, in seconds; None where that cannot be told."""
        return self.pace.left_s(self.clock.now_s - self.began_s) if self.is_running else None

    def follow(self, event: Event) -> None:
        """Take in one event."""
        self.version += 1
        self.clock.reach(event.at_s)
        match event:
            case StageStarted():
                self.progress = Progress()
                self.stages.start(event.stage, event.title, self.clock.now_s)
                self.pace.start(event.stage)
                if event.stage == "detect":
                    self.verdict, self.standings = None, Standings()  # an earlier search ended before its time
                self._log(RUNNING, event.title)
            case StageFinished():
                self.progress = Progress()
                self.stages.finish(event.stage, event.seconds)
                self.pace.finish(event.stage)
                said = f": {event.summary}" if event.summary else ""
                self._log(DONE, f"{event.stage} done in {clock(event.seconds)}{said}")
            case SearchStep():
                self._follow_search(event)
            case SharedSearchStep():
                self.progress = Progress("shared search", event.step, event.steps)
            case SourceSearchStep():
                self.progress = Progress(event.kind.replace("_", " "), event.step, event.steps)
                self.pace.search(event.kind, event.step, event.steps)
            case UnlearnStep():
                self.progress = Progress(event.method, event.step, event.steps)
                self.pace.unlearn(event.step, event.steps)
                self._attempt(event.method).follow(event)
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
                self.candidates.append(event)
                state = "confirmed" if event.confirmed else "not confirmed"
                self._log(WARNING, f"candidate toward {self.names(event.target_class)}: {family_words(event.family)}, cost "
                          f"{number(event.cost)}, flips {percent(event.attack_success_rate)}, {state}")  # fmt: skip
            case VerdictReached():
                self._reach(event.verdict)
                self._log(NOTE, f"verdict: {event.verdict.label.replace('_', ' ')}")
            case ResultReached():
                self._take(event.result)
            case FileWritten():
                others = [file for file in self.files if file.path != event.path]
                self.files = [*others[-MOST_FILES:], event]
                self._log(NOTE, f"wrote {event.path}")
            case AuditFinished():
                self._log(NOTE, f"finished: {event.label.replace('_', ' ')}, exit code {event.exit_code}")
                self.stages.pass_on()

    def _follow_search(self, event: SearchStep) -> None:
        """After the verdict, a search looks at the sanitized model: it moves no standing."""
        which = "" if self.verdict is None else "fresh search: "
        self.progress = Progress(which + family_words(event.family), event.step, event.steps)
        self.pace.search(event.family, event.step, event.steps)
        if self.verdict is not None:
            return
        if event.family != self.search.family:
            self.search = Following(family=event.family, picture=self.search.picture, picture_class=self.search.picture_class)
        self.search.step, self.search.steps = event.step, event.steps
        self.standings.follow(event)
        self._follow_best(event)
        pixels = image(event.picture)
        if pixels is not None and event.picture_class is not None:
            self.search.picture, self.search.picture_class = pixels, event.picture_class
            self.pictures[event.family, event.picture_class] = pixels

    def _follow_best(self, event: SearchStep) -> None:
        """The loss and the flip share of the class whose trigger is shown, else of the best class."""
        rows = list(zip(event.classes, event.attack_success_rate, event.loss, strict=False))
        best = [row for row in rows if row[0] == event.picture_class] or rows
        if best:
            self.search.flip_shares.append(max(row[1] for row in best))
            self.search.losses.append(min(row[2] for row in best))

    def _attempt(self, method: str) -> Attempt:
        """The attempt at work with this method, begun where there is none."""
        last = self.attempts[-1] if self.attempts else None
        if last is None or last.method != method or last.accepted is not None:
            last = Attempt(method=method)
            self.attempts = [*self.attempts[-MOST_ATTEMPTS:], last]
        return last

    def _judge_attempt(self, event: AttemptFinished) -> None:
        attempt = self._attempt(event.method)
        attempt.accepted, attempt.reason = event.accepted, event.reason
        state = "accepted" if event.accepted else "not accepted"
        self._log(DONE if event.accepted else FAILED, f"{event.method} {state}: {event.reason}")

    def _take(self, result: AuditResult) -> None:
        self.result = result
        if result.verdict is not None:
            self._reach(result.verdict)

    def _reach(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.standings.settle(verdict.per_class)

    def _log(self, mark: str, line: str) -> None:
        self.log.append((mark, printable(" ".join(line.split("\n")), 400)))
        self.logged += 1
