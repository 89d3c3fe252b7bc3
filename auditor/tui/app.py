"""The terminal application: its keys and themes, and which screen may be shown when."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from auditor.errors import printable
from auditor.request import Request
from auditor.tui.config import Config
from auditor.tui.process import process_stream
from auditor.tui.producing import Stream
from auditor.tui.running import Runner
from auditor.tui.screens.audit import AuditScreen
from auditor.tui.screens.base import AuditorScreen, own_bindings
from auditor.tui.screens.finding import FindingScreen
from auditor.tui.screens.help import Help
from auditor.tui.screens.history import HistoryScreen
from auditor.tui.screens.open import OpenScreen
from auditor.tui.screens.unlearn import UnlearnScreen
from auditor.tui.screens.verify import VerifyScreen
from auditor.tui.state import RunState
from auditor.tui.theme import DARK, DARK_TERMINAL, LIGHT, LIGHT_TERMINAL
from auditor.tui.widgets.halfblock import HalfBlockImage, PictureWidget

SCREENS = {screen.NAME: screen for screen in (AuditScreen, FindingScreen, UnlearnScreen, VerifyScreen, HistoryScreen)}
_BACK = {"finding": "audit", "unlearn": "finding", "verify": "finding"}


class AuditorApp(Runner):
    """Six screens over one `RunState`; `stream` is the library's, in a process, unless a test hands over another.

    `picture` draws the trigger while it forms.
    """

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
                 stream: Stream = process_stream, config: Config | None = None,
                 picture: type[PictureWidget] = HalfBlockImage) -> None:  # fmt: skip
        builders = {**SCREENS, OpenScreen.NAME: lambda: OpenScreen(self.state.request)}
        super().__init__(state or RunState(Request(model=model)), stream, builders)
        self.picture = picture
        self._config = config or Config()
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
            self.show_end()

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
                return self.can_resume
        return True

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

    async def action_quit(self) -> None:
        """Leave at once; a running audit is cancelled and can be resumed."""
        self.control.cancel()
        self.exit(130 if self.state.is_running and not self.state.is_replay else 0)
