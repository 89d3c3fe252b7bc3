"""What a person sets for the interface: `tui.toml` in the user's configuration folder.

    theme = "auditor-light"
    pictures = "terminal"

    [keys]
    "open.start" = "f9"
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from auditor.errors import printable

LARGEST_BYTES = 2**16


@dataclass(frozen=True, kw_only=True)
class Config:
    """`keys` maps the name of an action to its keys, with commas; `problem` says what could not be read.

    `pictures` is how the trigger is drawn while it forms: in characters, or by the terminal's own graphics.
    """

    theme: str = ""
    pictures: Literal["characters", "terminal"] = "characters"
    keys: dict[str, str] = field(default_factory=dict)
    problem: str = ""


def config_path() -> Path:
    """Where the file is looked for."""
    root = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(root) / "auditor" / "tui.toml"


def read_config(path: Path | None = None) -> Config:
    """What the file says; nothing is set when there is none."""
    path = path or config_path()
    try:
        if not path.is_file():
            return Config()
        with path.open("rb") as stream:
            said = tomllib.loads(stream.read(LARGEST_BYTES).decode("utf-8"))
    except (OSError, ValueError) as error:
        return Config(problem=f"{printable(path)} cannot be read: {printable(error)}")
    theme, keys = said.get("theme", ""), said.get("keys", {})
    if not isinstance(theme, str) or not isinstance(keys, dict) or not all(isinstance(k, str) for k in keys.values()):
        return Config(problem=f"{printable(path)}: theme is text, and [keys] maps names to text.")
    pictures = said.get("pictures", "characters")
    if pictures not in ("characters", "terminal"):
        return Config(problem=f'{printable(path)}: pictures is "characters" or "terminal".')
    unknown = sorted(set(said) - {"theme", "keys", "pictures"})
    problem = f"{printable(path)}: {printable(unknown[0], 40)} is not a setting." if unknown else ""
    return Config(theme=theme, keys=keys, pictures=pictures, problem=problem)
