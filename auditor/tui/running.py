"""Starts verbs and replays, steers them, and takes what they say into the run's state."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from textual import work
from textual.screen import ModalScreen
from textual.worker import get_current_worker

from auditor.domain import AuditResult, ErrorRecord
from auditor.errors import AuditorError
from auditor.events import Control, Event
from auditor.report.reading import read_result
from auditor.request import Request
from auditor.tui.command import command
from auditor.tui.evidence import load_evidence
from auditor.tui.leaving import CANCEL_WITHIN_S, Quiet
from auditor.tui.messages import AuditEnded, AuditEvent, RunOpened, RunRefused
from auditor.tui.producing import Stream, produce
from auditor.tui.replay import Tempo, paced, replay, state_of
from auditor.tui.screens.base import AuditorScreen
from auditor.tui.screens.confirm import ConfirmCancel
from auditor.tui.state import RunState

REPLAY = "replay"


class Runner(Quiet):
    """An application with one `RunState`, and at most one verb or replay at work on it in a thread.

    `builders` make the screens anew from the state, by name.
    """

    def __init__(self, state: RunState, stream: Stream, builders: Mapping[str, Callable[[], AuditorScreen]]) -> None:
        super().__init__()
        self.builders = builders
        self.state = state
        self.stream = stream
        self.control = Control()
        self.tempo = Tempo()
        self._token = 0
        self._was_stopped = False

    def show(self, name: str) -> None:
        """Go to a screen; questions that are open are closed."""
        while isinstance(self.screen, ModalScreen):
            self.pop_screen()
        if isinstance(self.screen, AuditorScreen) and self.screen.NAME != name:
            self.switch_screen(self.builders[name]())

    def show_end(self) -> None:
        """The screen that tells how the run of the state ended."""
        result = self.state.result
        has_ended = result is not None and (result.unlearning is not None or result.verification is not None)
        self.show("verify" if has_ended else "finding")

    @property
    def tempo_words(self) -> str:
        """The speed of a replay that goes on, or nothing."""
        return self.tempo.words if self.state.is_replay and self.state.is_running else ""

    def start(self, request: Request) -> None:
        """Scan a checkpoint."""
        self.state = RunState(request)
        self._begin("scan", request)
        self.show("audit")

    def unlearn(self, method: str, settings: Mapping[str, Any] | None = None) -> None:
        """Unlearn what the scan found, in the same run folder, and go on to the report."""
        request = dataclasses.replace(self.state.request, method=method, settings=dict(settings or {}), force=False)
        request = dataclasses.replace(request, argv=["auditor", *command(request, "audit")])
        self._begin("audit", request)
        self.show("unlearn")
        self.refresh_bindings()

    @work(thread=True, exclusive=True, exit_on_error=False, group="open")
    def open_run(self, folder: Path) -> None:
        """Show a recorded run as it ended."""
        try:
            self.post_message(RunOpened(replay(folder)))
        except AuditorError as error:
            self.post_message(RunRefused(f"{error.what} {error.next_step}"))

    def on_run_opened(self, message: RunOpened) -> None:
        if not self.state.is_running:
            self.state = message.state
            self.show_end()

    def on_run_refused(self, message: RunRefused) -> None:
        self.notify(message.what, severity="error", markup=False, timeout=15)

    def play_run(self, folder: Path) -> None:
        """Replay a recorded run from its first event."""
        try:
            self.state = state_of(folder, read_result(folder / "result.json").result)
        except AuditorError as error:
            self.notify(f"{error.what} {error.next_step}", severity="error", markup=False, timeout=15)
            return
        self.tempo = Tempo()

        def recorded(verb: str, request: Request, control: Control) -> Any:
            return paced(folder, self.tempo, control)

        self._begin(REPLAY, self.state.request, recorded)
        self.show("audit")

    def action_tempo(self, change: str) -> None:
        {"faster": self.tempo.faster, "slower": self.tempo.slower, "toggle": self.tempo.toggle}[change]()
        self.state.clock.reach(self.state.clock.now_s)
        self.state.clock.speed = 0.0 if self.tempo.is_paused else self.tempo.speed
        self.state.version += 1

    @property
    def can_resume(self) -> bool:
        """Whether the verb ended early, with an error or by a stop that came before a finding."""
        state = self.state
        is_early = bool(state.errors) or (self._was_stopped and not state.is_backdoored)
        return bool(state.verb) and not state.is_running and not state.is_replay and is_early

    def action_resume(self) -> None:
        """Run the verb that ended early once more: finished stages are not repeated."""
        request = dataclasses.replace(self.state.request, force=False)
        self._begin(self.state.verb, request)
        self.show("audit" if self.state.verb == "scan" else "unlearn")
        self.screen.refresh_bindings()

    def action_stop(self) -> None:
        """Finish with the best so far; before the search there is none, and what opens the model need not end."""
        if self.state.verdict is None and not self.state.search.step:
            self._cancel("There is nothing to keep yet: cancelling.")
            return
        self._was_stopped = True
        self.control.stop()
        self.notify("Stopping: the stage finishes with the best so far.", markup=False)

    def action_cancel(self) -> None:
        """Ask once; a replay has nothing to lose, and ends."""
        if self.state.is_replay:
            self.control.cancel()
        else:
            self.push_screen(ConfirmCancel(self.state.request.output or "the run folder"), self._cancel_if)

    def _cancel_if(self, answer: bool | None) -> None:
        if answer and self.state.is_running:
            self._cancel("Cancelling.")

    def _cancel(self, said: str) -> None:
        self.control.cancel()
        self.notify(said, markup=False)
        token = self._token
        self.set_timer(CANCEL_WITHIN_S, lambda: self._abandon(token))

    def _abandon(self, token: int) -> None:
        """Stop waiting for a step that does not end; the worker ends with it, and lets go of the folder then."""
        if token == self._token and self.state.is_running:
            self._token += 1
            self.workers.cancel_group(self, "audit")
            self.state.finish(None, [ErrorRecord(
                kind="cancelled", what="The audit was cancelled while a long step was at work.",
                next_step="Wait until it has ended, then run again with the same settings to resume.",
            )])  # fmt: skip

    def _begin(self, verb: str, request: Request, stream: Stream | None = None) -> None:
        self._token += 1
        self._was_stopped = False
        self.control.cancel()
        self.control = Control(request.time_budget_s)
        self.state.begin(verb, request)
        self.state.clock.speed = self.tempo.speed if verb == REPLAY else 1.0
        self._work(self._token, verb, request, self.control, stream or self.stream)

    @work(thread=True, exclusive=True, exit_on_error=False, group="audit")
    def _work(self, token: int, verb: str, request: Request, control: Control, stream: Stream) -> None:
        worker = get_current_worker()

        def post(event: Event) -> None:
            self.post_message(AuditEvent(token, event))

        result, errors = produce(stream, verb, request, control, post=post, is_abandoned=lambda: worker.is_cancelled)
        evidence = load_evidence(Path(request.output or "."), result)
        if not worker.is_cancelled:
            self.post_message(AuditEnded(token, result, errors, evidence))

    def on_audit_event(self, message: AuditEvent) -> None:
        if message.token == self._token:
            self.state.follow(message.event)

    def on_audit_ended(self, message: AuditEnded) -> None:
        """Show the finding after a scan and the end after an audit; errors stay where they happened."""
        if message.token != self._token or not self.screen_stack:  # without a screen the application is ending
            return
        is_replay_cut = self.state.is_replay and message.result is None
        self.state.finish(message.result, [] if is_replay_cut else message.errors, message.evidence)
        if self.state.is_replay or _has_failed(message.result):
            while isinstance(self.screen, ModalScreen):
                self.pop_screen()
            self.refresh_bindings()
            return
        self.show("finding" if self.state.verb == "scan" else "verify")


def _has_failed(result: AuditResult | None) -> bool:
    return result is None or bool(result.errors) or result.verdict is None
