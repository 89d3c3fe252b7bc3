"""A verb in a process of its own: events come over, wishes go there, and it never outlives its reader."""

from __future__ import annotations

import io
import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import cast

import pytest
import recorded

from auditor.domain import AuditResult, ErrorRecord
from auditor.errors import AuditorError, Cancelled
from auditor.events import Control, Event, Notice, drain
from auditor.request import Request
from auditor.tui import process
from auditor.tui.process import process_stream


class Gone:
    """Stands for a process whose end of the pipe a thread plays."""

    exitcode = -9

    def join(self, timeout: float) -> None:
        return


def follow(play: Callable[[Connection], None], control: Control) -> tuple[list[Event], AuditResult]:
    """What the reader makes of what is played at the other end."""
    here, there = multiprocessing.Pipe()
    threading.Thread(target=play, args=(there,), daemon=True).start()
    events, seen = process._follow(here, cast(SpawnProcess, Gone()), control), []
    while True:
        try:
            seen.append(next(events))
        except StopIteration as end:
            return seen, end.value


def test_events_and_the_result_come_over() -> None:
    result = recorded.result(Request(model="m.pt"), exit_code=0)

    def play(there: Connection) -> None:
        there.send(("event", recorded.search_step(5)))
        there.send(("event", Notice(message="hello")))
        there.send(("result", result))

    seen, found = follow(play, Control())
    assert [type(event).__name__ for event in seen] == ["SearchStep", "Notice"] and found == result


def test_an_error_of_the_verb_is_raised_with_its_kind() -> None:
    def play(there: Connection) -> None:
        there.send(("error", ErrorRecord(kind="unsafe", what="os.system", next_step="Refuse it.")))

    with pytest.raises(AuditorError) as caught:
        follow(play, Control())
    assert (caught.value.kind, caught.value.what, caught.value.next_step) == ("unsafe", "os.system", "Refuse it.")


def test_a_process_that_dies_is_an_error_with_a_next_step() -> None:
    with pytest.raises(AuditorError, match=r"unexpectedly \(code -9\)") as caught:
        follow(lambda there: there.close(), Control())
    assert "Resume" in caught.value.next_step


def test_stop_and_cancel_are_passed_on_in_time() -> None:
    control, heard = Control(), []

    def play(there: Connection) -> None:
        heard.append(there.recv())
        control.cancel()
        heard.append(there.recv())
        time.sleep(process.CANCEL_GRACE_S * 4)

    control.stop()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        follow(play, control)
    assert heard == ["stop", "cancel"]
    assert time.monotonic() - began < process.CANCEL_GRACE_S * 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_end_of_the_interface_cancels_the_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = multiprocessing.Pipe()
    control, left = Control(), threading.Event()
    monkeypatch.setattr(process, "ORPHAN_GRACE_S", 0.0)

    def leave(code: int) -> None:
        left.set()
        raise SystemExit(code)

    monkeypatch.setattr(process.os, "_exit", leave)
    reader = threading.Thread(target=process._obey, args=(there, control), daemon=True)
    reader.start()
    here.send("stop")
    here.close()
    assert left.wait(10)
    reader.join(10)
    with pytest.raises(Cancelled):
        _ = control.stop_requested


def test_a_real_process_says_why_a_file_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "bad.pt").write_bytes(b"%PDF-1.7")
    result = drain(process_stream("preflight", Request(model=str(tmp_path / "bad.pt")), Control()))
    assert result.errors and "document" in result.errors[0].what


def test_a_process_starts_where_standard_error_has_no_file_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Textual's stand-in while an application runs; multiprocessing's tracker would be handed its -1.
    class Captured(io.StringIO):
        def fileno(self) -> int:
            return -1

    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "stderr", Captured())
    (tmp_path / "bad.pt").write_bytes(b"%PDF-1.7")
    result = drain(process_stream("preflight", Request(model=str(tmp_path / "bad.pt")), Control()))
    assert result.errors and "document" in result.errors[0].what


def test_what_comes_over_needs_no_torch_here() -> None:
    """Loading it takes seconds, in which nothing is painted, and half a gigabyte."""
    samples = Path(__file__).parents[2] / "samples"
    code = ("import sys\n"
            "from auditor.events import Control, drain\n"
            "from auditor.request import Request\n"
            "from auditor.tui.process import process_stream\n"
            "if __name__ == '__main__':\n"
            "    request = Request(model=sys.argv[1], clean=sys.argv[2])\n"
            "    assert drain(process_stream('preflight', request, Control())).architecture is not None\n"
            "    sys.exit('torch' in sys.modules)\n")  # fmt: skip
    asked = [str(samples / "suspect.pt"), str(samples / "clean")]
    done = subprocess.run([sys.executable, "-c", code, *asked], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
