"""What the screens share: they draw the app's state whenever it has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.binding import ActiveBinding, Binding, BindingType
from textual.screen import Screen

from auditor.tui.state import RunState

if TYPE_CHECKING:
    from auditor.tui.app import AuditorApp

TICK_S = 0.1
CLOCK_TICKS = 10
LIVE_TICKS = 15  # between two paintings of a verb at work, its clock too: each takes from it what it costs


class AuditorScreen(Screen[None]):
    """A screen with a name and words of help."""

    NAME: ClassVar[str] = ""
    HELP_TEXT: ClassVar[str] = ""
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (160, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012

    @property
    def auditor(self) -> AuditorApp:
        return cast("AuditorApp", self.app)


def own_bindings(screen: Screen[Any]) -> list[ActiveBinding]:
    """The keys that work on a screen and are ours: those of its widgets, its own, the app's."""
    nodes = {kind for node in (screen, screen.app, *screen.walk_children()) for kind in type(node).__mro__}
    ours = {binding for kind in nodes if kind.__module__.startswith("auditor.") for binding in _actions(kind)}
    return [active for active in screen.active_bindings.values()
            if active.enabled and active.binding.description and active.binding.action in ours]  # fmt: skip


def _actions(node: type) -> list[str]:
    return [binding.action for binding in vars(node).get("BINDINGS", ()) if isinstance(binding, Binding)]


class StateScreen(AuditorScreen):
    """Draws `state` when its version has moved: at most every `TICK_S`, and more rarely beside a verb at work."""

    _drawn = -1
    _ticks = 0
    _was_running: bool | None = None

    @property
    def state(self) -> RunState:
        return self.auditor.state

    def on_mount(self) -> None:
        """Textual calls this beside the `on_mount` of a screen: through `super()` it would run twice."""
        self.set_interval(TICK_S, self._tick)
        self.call_after_refresh(self.redraw)

    def on_resize(self) -> None:
        self.call_after_refresh(self.redraw)

    def redraw(self) -> None:
        """Draw everything now."""
        if self.is_mounted:
            self._drawn = self.state.version
            self.draw(self.state)
            if self._was_running != self.state.is_running:
                self._was_running = self.state.is_running
                self.refresh_bindings()

    def _tick(self) -> None:
        self._ticks += 1
        state = self.state
        is_live = state.is_running and not state.is_replay
        if self._drawn != state.version and self._ticks % (LIVE_TICKS if is_live else 1) == 0:
            self.redraw()
        elif state.is_running and self._ticks % (LIVE_TICKS if is_live else CLOCK_TICKS) == 0:
            self.draw_clock(state)

    def draw(self, state: RunState) -> None:
        """Bring every widget up to the state."""

    def draw_clock(self, state: RunState) -> None:
        """Bring what shows running time up to date."""


class RunningScreen(StateScreen):
    """A screen on which a verb is at work, or a recorded run is replayed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "app.cancel", "Cancel", id="run.cancel"),
        Binding("s", "app.stop", "Stop, keep best", id="run.stop"),
        Binding("r", "app.resume", "Resume", id="run.resume"),
        Binding("space", "app.tempo('toggle')", "Pause", id="replay.pause"),
        Binding("plus,equals_sign", "app.tempo('faster')", "Faster", key_display="+", id="replay.faster"),
        Binding("minus", "app.tempo('slower')", "Slower", key_display="-", id="replay.slower"),
    ]
