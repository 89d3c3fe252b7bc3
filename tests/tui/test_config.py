"""Keys and theme that a person sets."""

from __future__ import annotations

from pathlib import Path

import pytest
from driving import drive, on, until
from textual.pilot import Pilot

from auditor.tui.app import AuditorApp
from auditor.tui.config import Config, read_config


def test_without_a_file_nothing_is_set(tmp_path: Path) -> None:
    assert read_config(tmp_path / "tui.toml") == Config()


def test_theme_and_keys_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "auditor").mkdir()
    (tmp_path / "auditor" / "tui.toml").write_text('theme = "auditor-light"\n[keys]\n"open.history" = "f9"\n')
    assert read_config() == Config(theme="auditor-light", keys={"open.history": "f9"})


@pytest.mark.parametrize("text", ["theme = 3", "[keys]\nx = 1", "= broken", "colour = 'red'"])
def test_what_cannot_be_read_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "tui.toml").write_text(text)
    assert "tui.toml" in read_config(tmp_path / "tui.toml").problem


def test_keys_and_theme_hold(here: Path) -> None:
    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await pilot.pause()
        assert app.theme == "auditor-light"
        await pilot.press("f9")
        await until(pilot, on(app, "history"))
        await pilot.press("f8")
        assert app.current_theme.dark

    drive(steps, config=Config(theme="auditor-light", keys={"open.history": "f9"}))


def test_a_theme_that_is_not_there_is_said(here: Path) -> None:
    async def steps(app: AuditorApp, pilot: Pilot[int]) -> None:
        await pilot.pause(0.3)
        assert any("no theme" in note.message for note in app._notifications)

    drive(steps, config=Config(theme="mauve"))
