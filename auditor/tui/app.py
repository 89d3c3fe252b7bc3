"""The terminal application: holds the run's state, starts verbs, and moves between the screens."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen, Screen
from textual.worker import get_current_worker

from auditor.domain import ErrorRecord, Request
from auditor.errors import AuditorError, printable
from auditor.events import Control, Event
from auditor.tui.command import command
from auditor.tui.leaving import CANCEL_WITHIN_S, run_and_leave
from auditor.tui.messages import AuditEnded, AuditEvent
from auditor.tui.producing import Stream, library_stream, produce
from auditor.tui.replay import is_run, replay
from auditor.tui.screens.audit import AuditScreen
from auditor.tui.screens.base import AuditorScreen, StateScreen, own_bindings
from auditor.tui.screens.confirm import ConfirmCancel
from auditor.tui.screens.finding import FindingScreen
from auditor.tui.screens.help import Help
from auditor.tui.screens.open import OpenScreen
from auditor.tui.screens.result import ResultScreen
from auditor.tui.screens.unlearn import UnlearnScreen
from auditor.tui.state import RunState
from auditor.tui.theme import THEME

SCREENS: dict[str, type[StateScreen]] = {
    screen.NAME: screen for screen in (AuditScreen, FindingScreen, UnlearnScreen, ResultScreen)
}


class AuditorApp(App[int]):
    """Five screens over one `RunState`; `stream` is the library's unless a test hands over another."""

    TITLE = "auditor"
    CSS_PATH = "auditor.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark,f1", "help", "Help", key_display="?"),
        Binding("1", "show('open')", "Open", show=False),
        Binding("2", "show('audit')", "Audit", show=False),
        Binding("3", "show('finding')", "Finding", show=False),
        Binding("4", "show('unlearn')", "Unlearn", show=False),
        Binding("5", "show('result')", "Result", show=False),
        Binding("ctrl+q", "quit", "Quit", priority=True),
    ]

    def __init__(self, *, model: str = "", state: RunState | None = None, message: str = "",
                 stream: Stream = library_stream) -> None:  # fmt: skip
        super().__init__()
        self.state = state or RunState(Request(model=model))
        self.control = Control()
        self._stream = stream
        self._token = 0
        self._message = message

    def on_mount(self) -> None:
        self.register_theme(THEME)
        self.theme = "auditor"
        self.push_screen(OpenScreen(self.state.request, self._message))
        if self.state.result is not None:
            has_ended = self.state.result.unlearning is not None or self.state.result.verification is not None
            self.show("result" if has_ended else "finding")

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Every key of the current screen, and then Textual's own commands."""
        for active in own_bindings(screen):
            run_it = partial(self.run_action, active.binding.action, active.node)
            yield SystemCommand(active.binding.description, f"Key {self.get_key_display(active.binding)}", run_it)
        yield from super().get_system_commands(screen)

    def can_show(self, name: str) -> bool:
        """Whether the screen has something to show."""
        state = self.state
        match name:
            case "audit":
                return bool(len(state.stages) or state.verb)
            case "unlearn":
                return state.verb == "audit" or bool(state.attempts)
            case "finding" | "result":
                return state.result is not None and not (state.is_running and name == "result")
        return not state.is_running

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide the keys that mean nothing at the moment."""
        match action:
            case "show":
                return self.can_show(str(parameters[0]))
            case "cancel" | "stop":
                return self.state.is_running
            case "resume":
                return not self.state.is_running and bool(self.state.errors) and bool(self.state.verb)
        return True

    def show(self, name: str) -> None:
        """Go to a screen, built anew from the state; questions that are open are closed."""
        while isinstance(self.screen, ModalScreen):
            self.pop_screen()
        if isinstance(self.screen, AuditorScreen) and self.screen.NAME != name:
            self.switch_screen(OpenScreen(self.state.request) if name == "open" else SCREENS[name]())

    def action_show(self, name: str) -> None:
        self.show(name)

    def action_new(self) -> None:
        self.state = RunState(Request(model=""))
        self.show("open")

    def action_help(self) -> None:
        screen = self.screen
        if isinstance(screen, AuditorScreen):
            keys = [(self.get_key_display(active.binding), active.binding.description)
                    for active in own_bindings(screen)]  # fmt: skip
            self.push_screen(Help(screen.HELP_TEXT, list(dict.fromkeys(keys))))

    def start(self, request: Request) -> None:
        """Scan a checkpoint."""
        self.state = RunState(request)
        self._begin("scan", request)
        self.show("audit")

    def unlearn(self, method: str) -> None:
        """Unlearn what the scan found, in the same run folder, and go on to the report."""
        request = dataclasses.replace(self.state.request, method=method, force=False)
        request = dataclasses.replace(request, argv=command(request, "audit"))
        self._begin("audit", request)
        self.show("unlearn")

    def finish_without_unlearning(self) -> None:
        """End the run: where nothing was found the report is written first, otherwise show what there is."""
        state = self.state
        has_report = state.is_replay or state.verdict is None or state.verb == "audit"
        if has_report or (state.verdict is not None and state.verdict.label == "backdoored"):
            self.show("result")
        else:
            self.unlearn("auto")

    def action_resume(self) -> None:
        """Run the verb that stopped once more: finished stages are not repeated."""
        request = dataclasses.replace(self.state.request, force=False)
        self._begin(self.state.verb, request)
        self.screen.refresh_bindings()

    def action_stop(self) -> None:
        self.control.stop()
        self.notify("Stopping: the stage finishes with the best so far.", markup=False)

    def action_cancel(self) -> None:
        self.push_screen(ConfirmCancel(self.state.request.output or "the run folder"), self._cancel_if)

    def _cancel_if(self, answer: bool | None) -> None:
        if answer and self.state.is_running:
            self.control.cancel()
            self.notify("Cancelling.", markup=False)
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

    def _begin(self, verb: str, request: Request) -> None:
        self._token += 1
        self.control = Control(request.time_budget_s)
        self.state.begin(verb, request)
        self._work(self._token, verb, request, self.control)

    @work(thread=True, exclusive=True, exit_on_error=False, group="audit")
    def _work(self, token: int, verb: str, request: Request, control: Control) -> None:
        worker = get_current_worker()

        def post(event: Event) -> None:
            self.post_message(AuditEvent(token, event))

        result, errors = produce(
            self._stream, verb, request, control, post=post, is_abandoned=lambda: worker.is_cancelled
        )  # fmt: skip
        if not worker.is_cancelled:
            self.post_message(AuditEnded(token, result, errors))

    def on_audit_event(self, message: AuditEvent) -> None:
        if message.token == self._token:
            self.state.follow(message.event)

    def on_audit_ended(self, message: AuditEnded) -> None:
        """Show the finding after a scan and the result after an audit; errors stay where they happened."""
        if message.token != self._token:
            return
        self.state.finish(message.result, message.errors)
        if message.result is None or message.result.errors or message.result.verdict is None:
            while isinstance(self.screen, ModalScreen):
                self.pop_screen()
            self.refresh_bindings()
            return
        self.show("finding" if self.state.verb == "scan" else "result")

    async def action_quit(self) -> None:
        """Leave at once; a running audit is cancelled and can be resumed."""
        self.control.cancel()
        self.exit(130 if self.state.is_running else 0)


def run(model_or_run: str | None = None) -> int:
    """Open the interface, on a checkpoint or a finished run if given; the process exit code.

    Where there is no terminal to draw on, says what to use instead and returns 2.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") in ("", "dumb"):
        sys.stderr.write("The interface needs a terminal that can draw.\n"
                         "Use `auditor audit MODEL --clean IMAGES -o RUN` instead.\n")  # fmt: skip
        return 2
    return asyncio.run(run_and_leave(make_app(model_or_run)))


def make_app(model_or_run: str | None) -> AuditorApp:
    """The application on a checkpoint, a run folder or nothing; what cannot be opened is said on the first screen."""
    if model_or_run is None or not Path(model_or_run).is_dir():
        return AuditorApp(model=model_or_run or "")
    folder = Path(model_or_run)
    if not is_run(folder):
        return AuditorApp(message=f"{printable(folder)} is a folder without a finished run (no result.json in it). "
                          "Give a checkpoint, or the folder that an audit wrote.")  # fmt: skip
    try:
        return AuditorApp(state=replay(folder))
    except AuditorError as error:
        return AuditorApp(message=f"{error.what} {error.next_step}")
