"""Open: choose the checkpoint, the clean images and how long to search; look at them before anything starts."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.timer import Timer
from textual.widgets import Button, Checkbox, Footer, Input, Select, Static
from textual.worker import get_current_worker

from auditor.errors import printable
from auditor.events import Control
from auditor.request import Request
from auditor.tui.checking import try_out
from auditor.tui.choice import Choice, look
from auditor.tui.command import command
from auditor.tui.facts import PLAN, image_words, model_words
from auditor.tui.history import PastRun
from auditor.tui.messages import Checked, Listed, Looked, RunChosen
from auditor.tui.opening import default_output, find_sample, holds_a_run, output_problem
from auditor.tui.screens.base import AuditorScreen
from auditor.tui.text import DONE, FAILED, NOTE, RUNNING, marked
from auditor.tui.widgets.heading import Heading
from auditor.tui.widgets.path_tree import PathTree
from auditor.tui.widgets.profile_select import ProfileSelect
from auditor.tui.widgets.recent import RecentRuns
from auditor.tui.widgets.row import Row, field

SETTLE_S = 0.25


class OpenScreen(AuditorScreen):
    """Paths and settings; Start is enabled once the audit can run, and says why not before."""

    NAME = "open"
    HELP_TEXT = (
        "Give the checkpoint and a handful of clean images (10 to 500). Files: enter takes a checkpoint or an .npz, "
        "u takes the folder under the cursor as the clean images. The file is then opened in a process of its own, "
        "where nothing in it is run, and tried on the images. The times are to a verdict, for a CIFAR-sized "
        "network on two CPU cores, or of earlier runs of the same network; unlearning takes minutes more."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f2", "sample", "Use the sample", id="open.sample"),
        Binding("f5", "start", "Start", id="open.start"),
        Binding("f6", "app.show('history')", "History", id="open.history"),
    ]

    def __init__(self, request: Request, message: str = "") -> None:
        """Fields begin as in `request`; `message` says what could not be opened."""
        super().__init__()
        self._sample = find_sample()
        self._given = request
        self._message = message
        self._timer: Timer | None = None
        self._choice = Choice()
        self._runs: list[PastRun] = []
        self._offered_output = ""
        self._wants = ""

    def compose(self) -> ComposeResult:
        yield Heading(0)
        with Horizontal(id="open"):
            with Vertical(id="places"):
                yield PathTree(Path.cwd(), classes="panel")
                yield RecentRuns(id="recent", classes="panel", compact=True)
            with VerticalScroll(id="form", classes="panel", can_focus=False):
                yield Static(id="message")
                yield Row("Checkpoint", field("model", "model.pt or model.safetensors"))
                yield Static(id="model-facts", classes="facts")
                yield Row("Clean images", field("clean", "a folder of images, or an .npz"))
                yield Static(id="clean-facts", classes="facts")
                yield Static(id="check-facts", classes="facts")
                yield Row("Search", ProfileSelect())
                yield Row("Architecture", field("arch", "optional, e.g. cifar:resnet20"))
                yield Row("Run folder", field("output", "runs/<model>"))
                yield Static(id="output-facts", classes="facts")
                yield Checkbox("start over in this folder (--force)", id="force", compact=True)
                with Horizontal(id="buttons"):
                    yield Button("Use the sample (F2)", id="sample", compact=True)
                    yield Button("Start (F5)", id="start", variant="primary", compact=True, disabled=True)
                yield Static(id="why")
                yield Static(Text(PLAN), id="plan")
        yield Footer()

    def on_mount(self) -> None:
        self.query_one("#form").border_title = "What to audit"
        self.query_one("#sample").display = self._sample is not None
        self.query_one("#force").display = False
        self._say("#message", marked(FAILED, self._message) if self._message else None)
        self._refill(self._given)
        first = "#clean" if self._given.model else "#sample" if self._sample else "#model"
        self.query_one(first).focus()
        self._check()

    def on_unmount(self) -> None:
        self._choice.trial.end()

    def _refill(self, request: Request) -> None:
        for name, value in (("model", request.model), ("clean", request.clean), ("arch", request.arch),
                            ("output", request.output)):  # fmt: skip
            if value:
                self._fill(name, value)
        self.query_one(ProfileSelect).value = request.profile

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self._sample is not None if action == "sample" else True

    def _value(self, name: str) -> str:
        return self.query_one(f"#{name}", Input).value.strip()

    def _fill(self, name: str, value: str) -> None:
        """Put a path into a field; refuse a name that steers terminals, which could not be shown."""
        if printable(value, len(value)) != value:
            self.notify("That name holds control characters. Rename the file first.", severity="error", markup=False)
            return
        self.query_one(f"#{name}", Input).value = value

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        clean = printable(event.value, len(event.value))
        if clean != event.value:
            event.input.value = clean
            return
        if event.input.id == "model":
            self._offer_output()
        if event.input.id in ("model", "clean", "arch"):
            self._choice.change()
            if self._timer is not None:
                self._timer.stop()
            look_at = partial(self._look_at, self._choice.token, self._value("model"), self._value("clean"))
            self._timer = self.set_timer(SETTLE_S, look_at)
        self._check()

    def _offer_output(self) -> None:
        output = self.query_one("#output", Input)
        if output.value in ("", self._offered_output):
            model = self._value("model")
            self._offered_output = default_output(model) if model else ""
            output.value = self._offered_output

    @work(thread=True, exclusive=True, exit_on_error=False, group="look")
    def _look_at(self, token: int, model: str, clean: str) -> None:
        worker = get_current_worker()
        seen = look(token, model, clean, lambda: worker.is_cancelled)
        if not worker.is_cancelled:
            self.post_message(seen)

    def on_looked(self, message: Looked) -> None:
        """The paths are what they should be: now open the model, and try it."""
        model, clean = self._value("model"), self._value("clean")
        if self._choice.take(message) and not self._choice.paths_problem(model, clean):
            request = Request(model=model, clean=clean or None, arch=self._value("arch") or None)
            self._try(message.token, request, self._choice.trial.begin(message.token))
        self._check()

    @work(thread=True, exit_on_error=False, group="check")
    def _try(self, token: int, request: Request, control: Control) -> None:
        self.post_message(try_out(token, self.auditor.stream, request, control))

    def on_checked(self, message: Checked) -> None:
        if not self._choice.trial.take(message):
            return
        self._check()
        button = self.query_one("#start", Button)
        if button.disabled:
            self._wants = ""
        elif self._wants == "start":
            self.action_start()
        elif self._wants == "focus":
            button.focus()
        self._wants = ""

    def on_listed(self, message: Listed) -> None:
        self._runs = message.runs
        self._check()

    def on_run_chosen(self, message: RunChosen) -> None:
        self.auditor.open_run(message.folder)

    @on(Checkbox.Changed)
    @on(Select.Changed)
    def _setting_changed(self) -> None:
        self._check()

    def _check(self) -> None:
        """Show what is known of the paths and the model, and whether the audit can start."""
        self.query_one("#model-facts", Static).update(model_words(self._value("model"), self._choice.model))
        self.query_one("#clean-facts", Static).update(image_words(self._value("clean"), self._choice.clean))
        self._say("#check-facts", self._choice.trial.words)
        output = self._value("output")
        exists = bool(output) and holds_a_run(output)
        self.query_one("#force").display = exists
        self._say("#output-facts", Text("This folder has content. The same settings resume a run in it.", style="dim") if exists else None)
        self.query_one(ProfileSelect).retime(self._runs, self._choice.trial.architecture)
        why = self._why_not()
        self.query_one("#start", Button).disabled = bool(why)
        working = why and (self._choice.trial.is_running or why.startswith("Looking"))
        self.query_one("#why", Static).update(marked(RUNNING if working else NOTE, why) if why else marked(DONE, "Ready to start."))

    def _say(self, selector: str, words: Text | None) -> None:
        place = self.query_one(selector, Static)
        place.display = words is not None and bool(words.plain)
        place.update(words or "")

    def _why_not(self) -> str:
        model, clean = self._value("model"), self._value("clean")
        return self._choice.why_not(model, clean) or output_problem(self._value("output"))

    def on_path_tree_taken(self, event: PathTree.Taken) -> None:
        self._fill(event.what, str(event.path))

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.focus_next()

    @on(Button.Pressed, "#sample")
    def action_sample(self) -> None:
        """Fill both paths with the sample; Start takes the focus as soon as it can."""
        if self._sample is not None:
            self._wants = "focus"
            self._fill("model", self._sample.model)
            self._fill("clean", self._sample.clean)

    @on(Button.Pressed, "#start")
    def action_start(self) -> None:
        """Start, or say why not; while the model is being tried, as soon as that has ended well."""
        why = self._why_not()
        if why and self._choice.trial.is_running:
            self._wants = "start"
            self.notify("It starts as soon as the model has been tried.", markup=False)
        elif why:
            self.notify(why, severity="warning", markup=False)
        else:
            self.auditor.start(self._request())

    def _request(self) -> Request:
        request = Request(
            model=self._value("model"), clean=self._value("clean") or None, output=self._value("output"),
            arch=self._value("arch") or None, profile=self.query_one(ProfileSelect).profile,
            force=self.query_one("#force", Checkbox).value and self.query_one("#force").display,
        )  # fmt: skip
        return replace(request, argv=command(request, "scan"))
