"""How the interface starts: without torch, on a terminal only, on a run folder from anyone."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import recorded

from auditor.errors import InputError
from auditor.tui.replay import replay
from auditor.tui.screens.base import AuditorScreen
from auditor.tui.starting import make_app, run


def test_importing_the_application_loads_no_torch() -> None:
    code = ("import auditor.tui.starting, auditor.tui.replay, sys\n"
            "bad = [name for name in ('torch', 'torchvision', 'timm', 'onnx') if name in sys.modules]\n"
            "sys.exit(' '.join(bad) or 0)")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("term", ["dumb", "xterm-256color"])
def test_without_a_terminal_it_says_what_to_use_instead(term: str) -> None:
    code = "from auditor.tui.starting import run; import sys; sys.exit(run())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, env={**os.environ, "TERM": term})  # fmt: skip
    assert done.returncode == 2
    assert "auditor audit" in done.stderr and done.stdout == ""


def test_a_dumb_terminal_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "dumb")
    assert run() == 2
    assert "auditor audit" in capsys.readouterr().err


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
def test_a_finished_run_opens_on_its_result(tmp_path: Path, size: tuple[int, int]) -> None:
    app = make_app(str(recorded.write_run(tmp_path / "run")))

    async def main() -> list[str]:
        seen = []
        async with app.run_test(size=size) as pilot:
            for key in ("5", "3", "4", "2", "6", "1"):
                await pilot.press(key)
                await pilot.pause(0.2)
                seen.append(app.screen.NAME if isinstance(app.screen, AuditorScreen) else "")
        return seen

    assert asyncio.run(main()) == ["verify", "finding", "unlearn", "audit", "history", "open"]
    # the trigger and the heat-maps were read back from the folder
    assert app.state.pictures["patch", recorded.TARGET].shape == (32, 32, 3)
    maps, first = app.state.attempts[0].maps, app.state.attempts[0].first_maps
    assert maps is not None and maps.shape == (4, 16, 16)
    assert first is not None and not np.array_equal(first, maps)
    assert app.state.attempts[0].accepted


def test_a_replay_offers_no_method(tmp_path: Path) -> None:
    app = make_app(str(recorded.write_run(tmp_path / "run")))

    async def main() -> None:
        async with app.run_test() as pilot:
            await pilot.press("3")
            await pilot.pause(0.2)
            await pilot.press("a", "p", "e")
            assert not app.state.is_running and app.state.verb == ""

    asyncio.run(main())


def test_hostile_lines_in_the_event_log_are_left_out(tmp_path: Path) -> None:
    folder = recorded.write_run(tmp_path / "run")
    good = (folder / "events.jsonl").read_text().splitlines()
    step = json.loads(next(line for line in good if "SearchStep" in line))
    outside = {**step, "picture": "../../../etc/passwd"}
    wrong = [{**step, "cost": ["x"] * 12}, {**step, "picture_class": [1]}, {"event": "StageFinished", "number": 1,
             "at_s": 0.1, "stage": "open", "seconds": "long"}, {"event": "Notice", "number": 2, "at_s": 0.1,
             "message": "m", "level": "loud"}]  # fmt: skip
    text = "\n".join([*map(json.dumps, [outside, *wrong]), "not json", "[" * 5000, *good]) + "\n"
    (folder / "events.jsonl").write_text(text)
    state = replay(folder)
    assert state.verdict is not None and state.verdict.label == "backdoored"
    assert all(isinstance(stage.seconds, float) for stage in state.stages)


def test_a_folder_that_is_no_run_says_so_on_the_first_screen(tmp_path: Path) -> None:
    app = make_app(str(tmp_path))

    async def main() -> str:
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause(0.2)
            return str(app.screen.query_one("#message").render())

    assert "no result.json" in asyncio.run(main())


def test_a_broken_result_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(InputError):
        replay(tmp_path)
    assert make_app(str(tmp_path)).state.result is None
