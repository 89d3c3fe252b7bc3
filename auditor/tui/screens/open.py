"""Open: choose the checkpoint, the clean images and how long to search; look at them before anything starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.timer import Timer
from textual.widgets import Button, Checkbox, DirectoryTree, Footer, Input, OptionList, Select, Static
from textual.worker import get_current_worker

from auditor.errors import printable
from auditor.events import Control
from auditor.report.text import duration
from auditor.request import Profile, Request
from auditor.tui.checking import Check, try_out
from auditor.tui.command import command
from auditor.tui.facts import PLAN, image_words, model_words
from auditor.tui.history import PastRun, expected_search_s, list_runs
from auditor.tui.messages import Checked, Looked
from auditor.tui.opening import (
    PROFILES,
    USUAL_TIMES,
    FileFacts,
    ImageFacts,
    default_output,
    find_sample,
    holds_a_run,
    look_at_images,
    look_at_model,
    output_problem,
)  # fmt: skip
from auditor.tui.screens.base import AuditorScreen
from auditor.tui.screens.history import Listed
from auditor.tui.text import DONE, FAILED, NOTE, RUNNING, STYLES, marked, shown
from auditor.tui.widgets.heading import Heading
from auditor.tui.widgets.path_tree import PathTree
from auditor.tui.wording import MARKS

SETTLE_S = 0.25
RECENT = 8


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
        self._look = 0
        self._timer: Timer | None = None
        self._model: FileFacts | None = None
        self._clean: ImageFacts | None = None
        self._trial = Check()
        self._runs: list[PastRun] = []
        self._offered_output = ""
        self._wants = ""
        self._said_profiles = self._profiles()

    def compose(self) -> ComposeResult:
        yield Heading(0)
        with Horizontal(id="open"):
            with Vertical(id="places"):
                yield PathTree(Path.cwd(), classes="panel")
                yield OptionList(id="recent", classes="panel", compact=True)
            with VerticalScroll(id="form", classes="panel", can_focus=False):
                yield Static(id="message")
                yield from _row("Checkpoint", _input("model", "model.pt or model.safetensors"))
                yield Static(id="model-facts", classes="facts")
                yield from _row("Clean images", _input("clean", "a folder of images, or an .npz"))
                yield Static(id="clean-facts", classes="facts")
                yield Static(id="check-facts", classes="facts")
                profiles = Select(self._said_profiles, value="standard", allow_blank=False, id="profile", compact=True)
                yield from _row("Search", profiles)
                yield from _row("Architecture", _input("arch", "optional, e.g. cifar:resnet20"))
                yield from _row("Run folder", _input("output", "runs/<model>"))
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
        self.query_one("#recent").border_title = "Recent runs"
        self.query_one("#sample").display = self._sample is not None
        self.query_one("#force").display = False
        message = self.query_one("#message", Static)
        message.display = bool(self._message)
        message.update(marked(FAILED, self._message))
        self._refill(self._given)
        first = "#clean" if self._given.model else "#sample" if self._sample else "#model"
        self.query_one(first).focus()
        self._check()
        self._list([Path("runs")])

    def on_unmount(self) -> None:
        self._trial.end()

    def _refill(self, request: Request) -> None:
        for name, value in (("model", request.model), ("clean", request.clean), ("arch", request.arch),
                            ("output", request.output)):  # fmt: skip
            if value:
                self._fill(name, value)
        self.query_one("#profile", Select).value = request.profile

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self._sample is not None if action == "sample" else True

    def _value(self, name: str) -> str:
        return self.query_one(f"#{name}", Input).value.strip()

    def _fill(self, name: str, value: str) -> None:
        """Put a path into a field. A name that steers terminals is refused: it could not be shown."""
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
            self._look += 1
            self._trial.end()
            if self._timer is not None:
                self._timer.stop()
            self._timer = self.set_timer(SETTLE_S, self._start_look)
        self._check()

    def _offer_output(self) -> None:
        output = self.query_one("#output", Input)
        if output.value in ("", self._offered_output):
            model = self._value("model")
            self._offered_output = default_output(model) if model else ""
            output.value = self._offered_output

    def _start_look(self) -> None:
        self._look_at(self._look, self._value("model"), self._value("clean"))

    @work(thread=True, exclusive=True, exit_on_error=False, group="look")
    def _look_at(self, token: int, model: str, clean: str) -> None:
        worker = get_current_worker()
        seen = look_at_model(model, lambda: worker.is_cancelled) if model else None
        images = look_at_images(clean, lambda: worker.is_cancelled) if clean else None
        if not worker.is_cancelled:
            self.post_message(Looked(token, seen, images))

    def on_looked(self, message: Looked) -> None:
        """The paths are what they should be: now open the model, and try it."""
        if message.token != self._look:
            return
        self._model, self._clean = message.model, message.clean
        if not self._paths_problem():
            control = self._trial.begin(self._look)
            request = Request(model=self._value("model"), clean=self._value("clean") or None, arch=self._value("arch") or None)
            self._try(self._look, request, control)
        self._check()

    @work(thread=True, exit_on_error=False, group="check")
    def _try(self, token: int, request: Request, control: Control) -> None:
        self.post_message(try_out(token, self.auditor.stream, request, control))

    def on_checked(self, message: Checked) -> None:
        if not self._trial.take(message):
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

    @work(thread=True, exclusive=True, exit_on_error=False, group="recent")
    def _list(self, roots: list[Path]) -> None:
        self.post_message(Listed(list_runs(roots)))

    def on_listed(self, message: Listed) -> None:
        self._runs = message.runs
        recent = self.query_one("#recent", OptionList)
        recent.display = bool(self._runs)
        recent.clear_options()
        recent.add_options([_recent_line(run) for run in self._runs[:RECENT]])

    @on(OptionList.OptionSelected, "#recent")
    def _recent_chosen(self, event: OptionList.OptionSelected) -> None:
        self.auditor.open_run(self._runs[event.option_index].folder)

    @on(Checkbox.Changed)
    @on(Select.Changed)
    def _setting_changed(self) -> None:
        self._check()

    def _check(self) -> None:
        """Show what is known of the paths and the model, and whether the audit can start."""
        self.query_one("#model-facts", Static).update(model_words(self._value("model"), self._model))
        self.query_one("#clean-facts", Static).update(image_words(self._value("clean"), self._clean))
        self._say("#check-facts", self._trial.words)
        output = self._value("output")
        exists = bool(output) and holds_a_run(output)
        self.query_one("#force").display = exists
        self._say("#output-facts", Text("This folder has content. The same settings resume a run in it.", style="dim") if exists else None)
        self._retime()
        why = self._why_not()
        self.query_one("#start", Button).disabled = bool(why)
        working = why and (self._trial.is_running or why.startswith("Looking"))
        self.query_one("#why", Static).update(marked(RUNNING if working else NOTE, why) if why else marked(DONE, "Ready to start."))

    def _say(self, selector: str, words: Text | None) -> None:
        place = self.query_one(selector, Static)
        place.display = words is not None and bool(words.plain)
        place.update(words or "")

    def _profiles(self) -> list[tuple[str, Profile]]:
        """The profiles with how long a search takes: as earlier ones of this network did here, or as usual."""
        found = []
        for profile in PROFILES:
            seconds = expected_search_s(self._runs, self._trial.architecture, profile)
            said = USUAL_TIMES[profile] if seconds is None else f"about {duration(round(seconds))}, as before"
            found.append((f"{profile}: {said}", profile))
        return found

    def _retime(self) -> None:
        select = self.query_one("#profile", Select)
        profiles = self._profiles()
        if self._said_profiles != profiles:
            chosen = select.value
            with self.prevent(Select.Changed):
                select.set_options(profiles)
                select.value = chosen
            self._said_profiles = profiles

    def _paths_problem(self) -> str:
        model, clean = self._value("model"), self._value("clean")
        if not model:
            return "Choose a checkpoint to start."
        if self._model is None or self._model.path != model:
            return "Looking at the file."
        if self._model.problem:
            return "This checkpoint cannot be audited: see above."
        if clean and (self._clean is None or self._clean.path != clean):
            return "Looking at the images."
        if clean and self._clean is not None and self._clean.problem:
            return "These images cannot be used: see above."
        return ""

    def _why_not(self) -> str:
        return self._paths_problem() or self._trial.why_not(self._look) or output_problem(self._value("output"))

    @on(DirectoryTree.FileSelected)
    def _file_taken(self, event: DirectoryTree.FileSelected) -> None:
        self._fill("clean" if event.path.suffix.lower() == ".npz" else "model", str(_short(event.path)))

    def on_path_tree_folder_taken(self, event: PathTree.FolderTaken) -> None:
        self._fill("clean", str(_short(event.path)))

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
        if why and self._trial.is_running:
            self._wants = "start"
            self.notify("It starts as soon as the model has been tried.", markup=False)
        elif why:
            self.notify(why, severity="warning", markup=False)
        else:
            self.auditor.start(self._request())

    def _request(self) -> Request:
        profile = self.query_one("#profile", Select).value
        request = Request(
            model=self._value("model"), clean=self._value("clean") or None, output=self._value("output"),
            arch=self._value("arch") or None, profile=next(known for known in PROFILES if known == profile),
            force=self.query_one("#force", Checkbox).value and self.query_one("#force").display,
        )  # fmt: skip
        return replace(request, argv=command(request, "scan"))


def _recent_line(run: PastRun) -> Text:
    if run.problem:
        return Text.assemble(("! ", STYLES["!"]), shown(run.folder.name, 40))
    mark = MARKS[run.mark]
    return Text.assemble((mark, STYLES[mark]), f" {shown(run.folder.name, 40)}  ", (run.label, "dim"))


def _row(label: str, field: Input | Select[Profile]) -> ComposeResult:
    with Horizontal(classes="row"):
        yield Static(label, classes="label")
        yield field


def _input(name: str, placeholder: str) -> Input:
    return Input(id=name, placeholder=placeholder, compact=True)


def _short(path: Path) -> Path:
    """Relative to the working directory where it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
