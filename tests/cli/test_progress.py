"""Progress: lines where there is no terminal, a live display where there is, silence when asked."""

from __future__ import annotations

import io
import sys

import cli_fakes as fakes
import pytest
from rich.console import Console

from auditor.cli import progress
from auditor.cli.board import Board, describe
from auditor.cli.main import main
from auditor.events import (
    AttemptFinished,
    ModelOpened,
    Notice,
    SearchStep,
    SharedSearchStep,
    SourceSearchStep,
    StageStarted,
    UnlearnStep,
)


def stderr_of(library: fakes.FakeLibrary, capsys: pytest.CaptureFixture[str], *flags: str) -> list[str]:
    library.events = fakes.typical_events()
    assert main(["scan", "m.pt", *flags]) == 0
    return capsys.readouterr().err.splitlines()


def test_without_a_terminal_a_stage_is_a_line_at_start_and_end(
    library: fakes.FakeLibrary, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = stderr_of(library, capsys)
    said = [line.split("] ", 1)[1] for line in lines]
    assert said == [
        "Searching for triggers ...",
        "warning: Labels are the model's own predictions.",
        "search done in 1.5 s: 1 candidate",
        "Unlearning ...",
        "unlearn done in 2.0 s",
    ]
    assert not any("\x1b" in line or "\r" in line for line in lines)


def test_verbose_adds_notices_and_steps(library: fakes.FakeLibrary, capsys: pytest.CaptureFixture[str]) -> None:
    text = "\n".join(stderr_of(library, capsys, "-v"))
    assert "Images were resized" in text
    assert "patch 1/2: best class 1, no trigger yet, ASR 60 %" in text
    assert "patch 2/2: best class 1, cost 5.25, ASR 100 %" in text
    assert "patch trigger toward class 1: cost 5.25, works on 100 % of images, confirmed" in text
    assert "verdict: backdoor found" in text
    assert "prune 1/1: accuracy 90 %, trigger works on 3 %" in text


def test_quiet_is_silent_but_for_errors(library: fakes.FakeLibrary, capsys: pytest.CaptureFixture[str]) -> None:
    assert stderr_of(library, capsys, "-q") == []
    library.result = fakes.failed(2, "Broken.", "Mend it.")
    main(["scan", "m.pt", "-q"])
    assert capsys.readouterr().err.splitlines() == ["auditor scan: Broken.", "  Mend it."]


def test_an_error_is_said_once(library: fakes.FakeLibrary, capsys: pytest.CaptureFixture[str]) -> None:
    library.result = fakes.failed(2, "Broken.", "Mend it.")
    library.events = [
        Notice(message="Broken.\nMend it.", level="error"), Notice(message="Another thing.", level="error")
    ]  # fmt: skip
    main(["scan", "m.pt"])
    text = capsys.readouterr().err
    assert text.count("Broken.") == 1
    assert "error: Another thing." in text


def test_a_long_stage_gives_a_sign_of_life(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    lines = progress.Lines(0)
    step = next(event for event in fakes.typical_events() if isinstance(event, SearchStep))
    for second in range(0, 130, 10):
        now[0] = float(second)
        lines.show(step)
    assert len(capsys.readouterr().err.splitlines()) == 2


def screen(width: int = 100, **options: object) -> tuple[progress.Screen, io.StringIO]:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=width, height=30, _environ=options.pop("environ", {}),
                      legacy_windows=False)  # type: ignore[arg-type] # fmt: skip
    return progress.Screen(console, 0), stream


def test_on_a_terminal_stages_scroll_and_the_board_is_live() -> None:
    shown, stream = screen()
    with shown:
        for event in fakes.typical_events():
            shown.show(event)
    text = stream.getvalue()
    assert "search done in 1.5 s: 1 candidate" in text
    assert "warning: Labels are the model's own predictions." in text
    assert "Images were resized" not in text
    assert text.rstrip().endswith("\x1b[?25h") or "\x1b[?25h" in text


def test_the_cursor_comes_back_when_the_audit_fails() -> None:
    shown, stream = screen()
    with pytest.raises(RuntimeError), shown:
        raise RuntimeError
    assert stream.getvalue().count("\x1b[?25l") == stream.getvalue().count("\x1b[?25h")


def test_the_board_shows_stage_bar_and_best() -> None:
    board = Board()
    for event in fakes.typical_events()[:5]:
        board.update(event)
    console = Console(file=io.StringIO(), width=100, force_terminal=True, no_color=True)
    with console.capture() as captured:
        console.print(board)
    text = captured.get()
    assert "Searching for triggers" in text
    assert "patch" in text and "2/2" in text
    assert "best class 1, cost 5.25, ASR 100 %" in text


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, stream = screen(environ={"NO_COLOR": "1", "TERM": "xterm-256color"})
    with shown:
        shown.show(StageStarted(stage="a", title="A"))
    assert "\x1b[3" not in stream.getvalue().replace("\x1b[3J", "")


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch, term: str) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", term)
    assert isinstance(progress.choose(quiet=False, verbosity=0), progress.Lines)


def test_a_closed_stderr_does_not_stop_an_audit(library: fakes.FakeLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    library.events = fakes.typical_events()
    monkeypatch.setattr(sys, "stderr", Gone())
    assert main(["scan", "m.pt"]) == 0
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["scan", "m.pt"]) == 0


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (Notice(message="a\x1b[2Jb\nc"), "a\ufffd[2Jb\ufffdc"),
        (SharedSearchStep(step=3, steps=9, shared_images=4, histogram=[]), "shared search 3/9: 4 images fooled alike"),
        (SourceSearchStep(kind="source_specific", step=5, steps=55, triggers=90), "source specific 5/55: 90 triggers"),
        (SourceSearchStep(kind="all_to_all", step=30, steps=190, triggers=9), "all to all 30/190: 9 triggers"),
        (ModelOpened(sha256="", format="safetensors", architecture="cifar:resnet20", num_classes=10,
                     input_shape=[3, 32, 32]), "safetensors, cifar:resnet20, 10 classes, input 3x32x32"),
        (UnlearnStep(method="shared_one", step=3, steps=9, clean_accuracy=0.914, proxy_attack_success_rate=0.5),
         "shared one 3/9: accuracy 91 %, trigger works on 50 %"),
        (UnlearnStep(method="sau", step=3, steps=9, clean_accuracy=0.9, proxy_attack_success_rate=0.02, tar=0.31,
                     tar_random=0.024, losses={"clean": 0.123456, "shared_adversarial": 2.0}, parameters_changed=272474),
         "sau 3/9: accuracy 90 %, trigger works on 2 %, TAR 31 % (random 2 %), loss clean 0.123 shared adversarial 2, "
         "272,474 weights changed"),
        (AttemptFinished(method="edit", accepted=False, reason="too weak"), "edit: rejected, too weak"),
    ],
)  # fmt: skip
def test_events_in_one_line(event: object, said: str) -> None:
    assert describe(event) == said  # type: ignore[arg-type]


def test_a_step_without_classes_is_shown() -> None:
    step = SearchStep(family="warp", step=0, steps=5, classes=[], loss=[], attack_success_rate=[], cost=[])
    assert describe(step) == "warping 0/5: "
