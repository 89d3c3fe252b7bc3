"""The terminal application: holds the run's state, starts verbs and replays, and moves between the screens."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual import work
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen, Screen
from textual.worker import get_current_worker

from auditor.domain import AuditResult, ErrorRecord
from auditor.errors import AuditorError, printable
from auditor.events import Control, Event
from auditor.report.reading import read_result
from auditor.request import Request
from auditor.tui.command import command
from auditor.tui.config import Config, read_config
from auditor.tui.evidence import load_evidence
from auditor.tui.leaving import CANCEL_WITHIN_S, Quiet, run_and_leave
from auditor.tui.messages import AuditEnded, AuditEvent, RunOpened, RunRefused
from auditor.tui.process import process_stream
from auditor.tui.producing import Stream, produce
from auditor.tui.replay import Tempo, is_run, paced, replay, state_of
from auditor.tui.screens.audit import AuditScreen
from auditor.tui.screens.base import AuditorScreen, own_bindings
from auditor.tui.screens.confirm import ConfirmCancel
from auditor.tui.screens.finding import FindingScreen
from auditor.tui.screens.help import Help
from auditor.tui.screens.history import HistoryScreen
from auditor.tui.screens.open import OpenScreen
from auditor.tui.screens.unlearn import UnlearnScreen
from auditor.tui.screens.verify import VerifyScreen
from auditor.tui.state import RunState
from auditor.tui.theme import DARK, DARK_TERMINAL, LIGHT, LIGHT_TERMINAL

SCREENS = {screen.NAME: screen for screen in (AuditScreen, FindingScreen, UnlearnScreen, VerifyScreen, HistoryScreen)}
REPLAY = "replay"
_BACK = {"finding": "audit", "unlearn": "finding", "verify": "finding"}


class AuditorApp(Quiet):
    """Six screens over one `RunState`; `stream` is the library's, in a process, unless a test hands over another."""

    TITLE = "auditor"
    CSS_PATH = "auditor.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark,f1", "help", "Help", key_display="?", id="app.help"),
        Binding("1", "show('open')", "Go to Open", show=False, id="app.open"),
        Binding("2", "show('audit')", "Go to Audit", show=False, id="app.audit"),
        Binding("3", "show('finding')", "Go to Finding", show=False, id="app.finding"),
        Binding("4", "show('unlearn')", "Go to Unlearn", show=False, id="app.unlearn"),
        Binding("5", "show('verify')", "Go to Verify and export", show=False, id="app.verify"),
        Binding("6", "show('history')", "Go to History", show=False, id="app.history"),
        Binding("f8", "light", "Light or dark", show=False, id="app.light"),
        Binding("ctrl+q", "quit", "Quit", priority=True, id="app.quit"),
    ]

    def __init__(self, *, model: str = "", state: RunState | None = None, message: str = "",
                 stream: Stream = process_stream, config: Config | None = None) -> None:  # fmt: skip
        super().__init__()
        self.state = state or RunState(Request(model=model))
        self.control = Control()
        self.stream = stream
        self.tempo = Tempo()
        self._config = config or Config()
        self._token = 0
        self._message = message

    def on_mount(self) -> None:
        for theme in (DARK, LIGHT):
            self.register_theme(theme)
        self.ansi_theme_dark, self.ansi_theme_light = DARK_TERMINAL, LIGHT_TERMINAL
        known = self._config.theme in self.available_themes
        self.theme = self._config.theme if known else DARK.name
        self.set_keymap(self._config.keys)
        unknown = f"There is no theme {printable(self._config.theme, 40)!r}." if self._config.theme and not known else ""
        if problem := self._config.problem or unknown:
            self.notify(problem, severity="warning", markup=False, timeout=15)
        self.push_screen(OpenScreen(self.state.request, self._message))
        if self.state.result is not None:
            self._show_end()

    @property
    def tempo_words(self) -> str:
        """The speed of a replay that goes on, or nothing."""
        return self.tempo.words if self.state.is_replay and self.state.is_running else ""

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Every key of the current screen, and then Textual's own commands."""
        for active in own_bindings(screen):
            run_it = partial(self.run_action, active.binding.action, active.node)
            group = (active.binding.id or "").partition(".")[0]
            title = f"{group}: {active.binding.description}" if group else active.binding.description
            yield SystemCommand(title, f"Key {self.get_key_display(active.binding)}", run_it)
        yield from super().get_system_commands(screen)

    def can_show(self, name: str) -> bool:
        """Whether the screen has something to show."""
        state = self.state
        match name:
            case "audit":
                return bool(len(state.stages) or state.verb)
            case "unlearn":
                return bool(state.attempts) or (state.is_backdoored and not state.is_replay) or state.verb == "audit"
            case "finding":
                return state.verdict is not None or state.result is not None
            case "verify":
                return state.result is not None and (state.is_replay or not state.is_running)
        return not state.is_running or state.is_replay

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide the keys that mean nothing at the moment."""
        state = self.state
        match action:
            case "show":
                return self.can_show(str(parameters[0]))
            case "leave":
                return self.can_show(self._before)
            case "cancel" | "stop":
                return state.is_running and (action == "cancel" or not state.is_replay)
            case "tempo":
                return state.is_replay and state.is_running
            case "resume":
                return not state.is_running and not state.is_replay and bool(state.errors) and bool(state.verb)
        return True

    def show(self, name: str) -> None:
        """Go to a screen, built anew from the state; questions that are open are closed."""
        while isinstance(self.screen, ModalScreen):
            self.pop_screen()
        if isinstance(self.screen, AuditorScreen) and self.screen.NAME != name:
            self.switch_screen(OpenScreen(self.state.request) if name == "open" else SCREENS[name]())

    def action_show(self, name: str) -> None:
        self.show(name)

    @property
    def _before(self) -> str:
        """The name of the screen before this one, else of Open."""
        return _BACK.get(self.screen.NAME, "open") if isinstance(self.screen, AuditorScreen) else "open"

    def action_leave(self) -> None:
        """Go to the screen before this one, or to Open."""
        self.show(self._before)

    def action_new(self) -> None:
        self.state = RunState(Request(model=""))
        self.show("open")

    def action_light(self) -> None:
        self.theme = DARK.name if not self.current_theme.dark else LIGHT.name

    def action_help(self) -> None:
        screen = self.screen
        if isinstance(screen, AuditorScreen):
            keys = [(self.get_key_display(active.binding), active.binding.description, active.binding.id or "")
                    for active in own_bindings(screen)]  # fmt: skip
            self.push_screen(Help(screen.HELP_TEXT, list(dict.fromkeys(keys))))

    def start(self, request: Request) -> None:
        """Scan a checkpoint."""
        self.state = RunState(request)
        self._begin("scan", request)
        self.show("audit")

    def unlearn(self, method: str, settings: Mapping[str, Any] | None = None) -> None:
        """Unlearn what the scan found, in the same run folder, and go on to the report."""
        request = dataclasses.replace(self.state.request, method=method, settings=dict(settings or {}), force=False)
        request = dataclasses.replace(request, argv=command(request, "audit"))
        self._begin("audit", request)
        self.show("unlearn")
        self.refresh_bindings()

    def finish_without_unlearning(self) -> None:
        """End the run: where nothing was found the report is written first, otherwise show what there is."""
        state = self.state
        has_report = state.is_replay or state.verdict is None or state.verb == "audit"
        if has_report or state.is_backdoored:
            self.show("verify")
        else:
            self.unlearn("auto")

    def run_roots(self) -> list[Path]:
        """The folders that History looks for runs in."""
        output = self.state.request.output
        return [Path("runs"), *([Path(output).absolute().parent] if output else [])]

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
            self._show_end()

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

    def action_resume(self) -> None:
        """Run the verb that stopped once more: finished stages are not repeated."""
        request = dataclasses.replace(self.state.request, force=False)
        self._begin(self.state.verb, request)
        self.screen.refresh_bindings()

    def action_stop(self) -> None:
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

    def _begin(self, verb: str, request: Request, stream: Stream | None = None) -> None:
        self._token += 1
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

    def _show_end(self) -> None:
        """The screen that tells how the run of the state ended."""
        result = self.state.result
        has_ended = result is not None and (result.unlearning is not None or result.verification is not None)
        self.show("verify" if has_ended else "finding")

    async def action_quit(self) -> None:
        """Leave at once; a running audit is cancelled and can be resumed."""
        self.control.cancel()
        self.exit(130 if self.state.is_running and not self.state.is_replay else 0)


def _has_failed(result: AuditResult | None) -> bool:
    return result is None or bool(result.errors) or result.verdict is None


def run(model_or_run: str | None = None) -> int:
    """Open the interface, on a checkpoint or a finished run if given; the process exit code.

    Where there is no terminal to draw on, says what to use instead and returns 2.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") in ("", "dumb"):
        sys.stderr.write("The interface needs a terminal that can draw.\n"
                         "Use `auditor audit MODEL --clean IMAGES -o RUN` instead.\n")  # fmt: skip
        return 2
    return asyncio.run(run_and_leave(make_app(model_or_run, read_config())))


def make_app(model_or_run: str | None, config: Config | None = None) -> AuditorApp:
    """The application on a checkpoint, a run folder or nothing; what cannot be opened is said on the first screen."""
    if model_or_run is None or not Path(model_or_run).is_dir():
        return AuditorApp(model=model_or_run or "", config=config)
    folder = Path(model_or_run)
    if not is_run(folder):
        return AuditorApp(config=config, message=f"{printable(folder)} is a folder without a finished run (no result.json in "
                          "it). Give a checkpoint, or the folder that an audit wrote.")  # fmt: skip
    try:
        return AuditorApp(state=replay(folder), config=config)
    except AuditorError as error:
        return AuditorApp(message=f"{error.what} {error.next_step}", config=config)
