"""Cancelled at any event: exit 130, a consistent run folder, and the same command resumes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path

import material
import planted
import pytest
from material import Files, auditor

from auditor import CleanImages
from auditor.domain import AuditResult
from auditor.events import Control, Event, FileWritten, Notice, SearchStep, UnlearnStep
from auditor.library import stream
from auditor.request import Request
from auditor.runs import read_events, verify_seal
from auditor.search import budgets
from auditor.unlearn import METHODS
from auditor.unlearn.method import Task

REUSED = "Detection was finished earlier; its result is used again."
KINDS = ["StageStarted", "Notice", "SharedSearchStep", "SearchStep", "CandidateFound", "StageFinished", "UnlearnStep",
         "AttemptFinished"]  # fmt: skip


def request(output: Path, **changes: object) -> Request:
    return replace(Request(model="PlantedNet", output=str(output), device="cpu", profile="quick"), **changes)


def run(asked: Request, at: Callable[[Event], bool] = lambda _: False) -> tuple[AuditResult, list[Event]]:
    """Audit the planted network, cancelling at the first event that `at` accepts; the result and the events."""
    images, labels = planted.planted_images(60)
    control, events = Control(), []
    going = stream("audit", asked, control, suspect=planted.planted(),
                   clean=CleanImages.from_arrays(images.numpy(), labels.numpy()))  # fmt: skip
    while True:
        try:
            events.append(next(going))
        except StopIteration as end:
            return end.value, events
        if at(events[-1]):
            control.cancel()


def messages(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Notice)]


def outcome_of(result: AuditResult) -> object:
    """What must not depend on interruptions."""
    return (result.verdict, result.triggers, result.verification, result.exports[0].sha256, sorted(result.limits),
            result.unlearning and result.unlearning.method)  # fmt: skip


@dataclass(frozen=True)
class Finished:
    folder: Path
    result: AuditResult
    events: list[Event]


@pytest.fixture(scope="module")
def finished(quick: None, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """An audit that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return Finished(folder, *run(request(folder)))


def test_every_file_said_to_be_written_is_there(finished: Finished) -> None:
    named = [event.path for event in finished.events if isinstance(event, FileWritten)]

    assert {"sanitized.onnx", "sanitized.safetensors", "result.json"} <= set(named)
    assert all((finished.folder / name).exists() for name in named)


def test_cancelled_at_every_kind_of_event_and_resumed(finished: Finished, tmp_path: Path) -> None:
    # Given one run folder, in which the same audit is cancelled at each kind of event in turn
    folder = tmp_path / "run"
    for kind in KINDS:
        result, events = run(request(folder), lambda event, kind=kind: type(event).__name__ == kind)

        assert result.run.exit_code == 130, kind
        assert [error.kind for error in result.errors] == ["cancelled"], kind
        assert type(events[-1]).__name__ == "AuditFinished", kind
        assert verify_seal(folder) == [], kind
        assert not [name for name in material.tree(folder) if name.startswith(("sanitized", "report"))], kind
        stored = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        assert stored["run"]["exit_code"] == 130, kind

    # When it runs to its end at last
    resumed, events = run(request(folder))

    # Then it is what an audit without interruption is, and the log is one
    assert REUSED in messages(events)
    assert outcome_of(resumed) == outcome_of(finished.result)
    assert resumed.run.exit_code == 0
    assert resumed.errors == []
    assert verify_seal(folder) == []
    numbers = [event.number for event in read_events(folder / "events.jsonl")]
    assert numbers == list(range(1, len(numbers) + 1))


@dataclass(frozen=True, kw_only=True)
class Keep:
    """A method that changes nothing, and so is never accepted."""

    name: str = "keep"
    is_reconstruction: bool = False

    def run(self, task: Task) -> Generator[Event, None, object]:
        yield from ()
        return task.suspect.clone()


def test_another_method_resumes_and_leaves_nothing_of_the_first(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a finished run with a sanitized model
    monkeypatch.setitem(METHODS, "keep", Keep())
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    assert {"sanitized.onnx", "sanitized.safetensors", "report.html"} <= set(material.tree(folder))

    # When another method, which fails, is asked for alone
    second, events = run(request(folder, method="keep"))

    # Then detection is taken up, and only what the second run made is there
    assert REUSED in messages(events)
    assert (second.verdict, second.triggers) == (finished.result.verdict, finished.result.triggers)
    assert second.run.exit_code == 1
    assert second.unlearning is not None and second.unlearning.method == "keep"
    names = material.tree(folder)
    assert not [name for name in names if name.startswith("sanitized")]
    assert {"evidence/candidate_sanitized.onnx", "evidence/candidate_sanitized.safetensors"} <= set(names)
    assert verify_seal(folder) == []

    # And a third leaves nothing of the second
    run(request(folder), lambda event: isinstance(event, UnlearnStep))
    assert not [name for name in material.tree(folder) if "candidate" in name or name.startswith("report")]


def test_another_seed_is_refused_and_force_starts_over(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(request(folder), lambda event: isinstance(event, UnlearnStep))
    before = material.tree(folder)

    refused, _ = run(request(folder, seed=1))

    assert refused.run.exit_code == 2
    assert "--force" in refused.errors[0].next_step
    assert material.tree(folder) == before
    forced, events = run(request(folder, seed=1, force=True), lambda event: isinstance(event, SearchStep))
    assert forced.run.exit_code == 130
    assert REUSED not in messages(events)


def test_another_network_is_refused(tmp_path: Path) -> None:
    """A caller's module has no file, so its weights tell it apart."""
    folder = tmp_path / "run"
    run(request(folder), lambda event: isinstance(event, SearchStep))
    images, labels = planted.planted_images(60)
    clean = CleanImages.from_arrays(images.numpy(), labels.numpy())

    events = stream("audit", request(folder), suspect=planted.planted(0.0), clean=clean)

    assert any("another run" in message for message in messages(list(events)))


def test_damaged_evidence_is_searched_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(request(folder), lambda event: isinstance(event, UnlearnStep))
    (folder / "evidence" / "trigger_0.npz").write_bytes(b"damaged")

    result, events = run(request(folder), lambda event: isinstance(event, UnlearnStep))

    assert REUSED not in messages(events)
    assert result.verdict is not None and result.verdict.label == "backdoored"


def test_a_closed_generator_lets_go_of_its_folder(tmp_path: Path) -> None:
    images, labels = planted.planted_images(60)
    clean = CleanImages.from_arrays(images.numpy(), labels.numpy())
    going = stream("audit", request(tmp_path / "run"), suspect=planted.planted(), clean=clean)
    while not isinstance(next(going), SearchStep):
        pass

    going.close()

    result, _ = run(request(tmp_path / "run"), lambda event: isinstance(event, SearchStep))
    assert result.run.exit_code == 130


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize("stage", ["Opening the model", "Searching for triggers"])
def test_ctrl_c_in_a_terminal(stage: str, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an audit, in its own process group as in a terminal, that searches for longer than this test waits
    command = ["audit", files.suspect, *files.network, "--clean", files.clean, "--profile", "deep", "-o",
               tmp_path / "run"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(Path(planted.__file__).parent)}
    process = subprocess.Popen([sys.executable, "-m", "auditor", *map(str, command), "--format", "json"], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, start_new_session=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))  # fmt: skip
    guard = threading.Timer(60, process.kill)
    guard.start()
    assert process.stderr is not None
    while stage not in (line := process.stderr.readline()):
        assert line, "the audit ended before it came to the stage"

    # When the whole group is interrupted
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate()
    guard.cancel()

    # Then it ends cleanly, says so on stdout as an object, and the same command resumes
    assert process.returncode == json.loads(out)["run"]["exit_code"] == 130
    assert "Run the same command again" in err
    assert "Traceback" not in err
    assert verify_seal(tmp_path / "run") == []
    if stage == "Opening the model":
        return  # resuming from the beginning is tested above
    monkeypatch.setitem(budgets.PROFILES, "deep", budgets.PROFILES["quick"])
    again = auditor(*command, "-v")
    assert again.code == 0, again.err
    assert verify_seal(tmp_path / "run") == []


def test_a_spent_time_budget_is_inconclusive_and_says_so(files: Files) -> None:
    outcome = auditor("scan", files.suspect, *files.flags, "--time-budget", "0.1s", "--format", "json")

    assert outcome.code == outcome.result["run"]["exit_code"] == 3
    assert outcome.result["verdict"]["label"] == "inconclusive"
    assert any("time budget was exhausted" in limit for limit in outcome.result["limits"])
    assert "time budget was exhausted" in outcome.err
