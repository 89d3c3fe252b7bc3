"""Ctrl-C and SIGTERM through `main`, with a library that looks at its Control."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cli_fakes as fakes
import pytest

from auditor.cli import interrupts
from auditor.cli.main import main
from auditor.errors import Cancelled
from auditor.events import Control, StageStarted
from auditor.request import Request

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")


@pytest.fixture(autouse=True)
def listening() -> Iterator[None]:
    """Python's usual handlers, which a runner in the background may have switched off."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def heeding(signals: list[int]) -> tuple[list[bool], object]:
    """A library body that receives signals and ends as the real one does when cancelled."""
    cleaned: list[bool] = []

    def body(_: Request, control: Control) -> fakes.Stream:
        yield StageStarted(stage="search", title="Searching")
        try:
            for number in signals:
                signal.raise_signal(number)
            assert control.stop_requested in (True, False)
        except Cancelled as cancelled:
            cleaned.append(True)
            result = fakes.failed(130, cancelled.what, cancelled.next_step)
            return replace(result, run=replace(result.run, exit_code=130))
        finally:
            cleaned.append(True)
        return fakes.backdoored()

    return cleaned, body


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGTERM, signal.SIGTERM]])
def test_the_first_signal_ends_the_audit_cleanly(
    library: fakes.FakeLibrary, capsys: pytest.CaptureFixture[str], signals: list[int]
) -> None:
    _, library.body = heeding(signals)  # type: ignore[assignment]
    assert main(["audit", "m.pt", "-o", "r", "--format", "json"]) == 130
    printed = capsys.readouterr()
    assert json.loads(printed.out)["errors"][0]["what"] == "The audit was cancelled."
    assert printed.err.count("Finishing cleanly") == 1


def test_the_second_ctrl_c_leaves_at_once(library: fakes.FakeLibrary, capsys: pytest.CaptureFixture[str]) -> None:
    # Given a library that ignores the first
    cleaned: list[bool] = []

    def body(*_: object) -> fakes.Stream:
        yield StageStarted(stage="search", title="Searching")
        try:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            cleaned.append(False)
        finally:
            cleaned.append(True)
        return fakes.backdoored()

    library.body = body
    # When both arrive, then it unwinds there and then
    assert main(["scan", "m.pt", "--format", "json"]) == 130
    assert cleaned == [True]
    assert json.loads(capsys.readouterr().out)["run"]["exit_code"] == 130


def test_handlers_are_put_back_and_no_timer_stays(library: fakes.FakeLibrary) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    main(["scan", "m.pt"])
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer) and thread.is_alive()
                and not thread.finished.is_set()]  # fmt: skip


def test_an_ignored_signal_stays_ignored(library: fakes.FakeLibrary) -> None:
    # Given a process started by nohup or in the background
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, library.body = heeding([signal.SIGINT])  # type: ignore[assignment]
    assert main(["scan", "m.pt"]) == 0


def test_main_works_outside_the_main_thread(library: fakes.FakeLibrary) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(["scan", "m.pt"])))
    thread.start()
    thread.join(60)
    assert codes == [0]


def test_a_hanging_process_is_ended_after_the_grace_period(tmp_path: Path) -> None:
    """Code that swallows KeyboardInterrupt cannot hold the process."""
    script = tmp_path / "hang.py"
    script.write_text(
        "import time\n"
        "from auditor.cli import interrupts\n"
        "from auditor.events import Control\n"
        "interrupts.GRACE_S = 0.2\n"
        "with interrupts.steered(Control(), lambda line: print(line, flush=True)):\n"
        "    try:\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        "        time.sleep(60)\n"
    )
    reset = (
        "import signal, os, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.executable, sys.argv[1:])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", reset, sys.executable, str(script)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert "Finishing cleanly" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        assert process.wait(30) == interrupts.EXIT_CODE
        assert time.monotonic() - started < 20
